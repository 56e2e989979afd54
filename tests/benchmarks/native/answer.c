/* Reads an HTTP/1.1 answer as it comes, however it is cut. */
#define _GNU_SOURCE
#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void answer_begin(struct answer *a) {
    a->status = a->last = a->line = 0;
    a->body = a->left = 0;
    a->phase = HEAD;
    a->head_length = 0;
}

/* The head, which is complete. 0: the body follows; -1: no framing that can be checked. */
static int read_head(struct answer *a) {
    a->status = strncmp(a->head, "HTTP/1.1 ", 9) ? 0 : atoi(a->head + 9);
    const char *length = strcasestr(a->head, "\r\ncontent-length:");
    if (a->status >= 100 && a->status < 200) {
        a->head_length = 0; /* An interim answer: the real one follows. */
        return 0;
    }
    a->last = strcasestr(a->head, "\r\nconnection: close") != NULL;
    a->line = 0;
    a->left = length ? strtoull(length + 17, NULL, 10) : 0;
    a->phase = length ? LENGTH : CHUNK_SIZE;
    return length || strcasestr(a->head, "\r\ntransfer-encoding: chunked") ? 0 : -1;
}

int answer_take(struct answer *a, const char *at, size_t n) {
    const char *end = at + n;
    if (!a->status) {
        size_t had = a->head_length, taken = n < HEAD_BYTES - 1 - had ? n : HEAD_BYTES - 1 - had;
        memcpy(a->head + had, at, taken);
        a->head[had + taken] = 0;
        a->head_length += taken;
        char *stop = strstr(a->head + (had > 3 ? had - 3 : 0), "\r\n\r\n");
        if (!stop)
            return a->head_length < HEAD_BYTES - 1 ? 0 : -1;
        at += (size_t)(stop + 4 - a->head) - had;
        stop[2] = 0;
        if (read_head(a))
            return -1;
        if (a->phase == HEAD) {
            a->status = 0;
            return answer_take(a, at, (size_t)(end - at));
        }
    }
    while (at < end || (a->phase == LENGTH && !a->left)) {
        if (a->phase == LENGTH || a->phase == CHUNK_DATA) {
            size_t some = (size_t)(end - at) < a->left ? (size_t)(end - at) : (size_t)a->left;
            at += some;
            a->body += some;
            a->left -= some;
            if (a->left)
                return 0;
            if (a->phase == LENGTH)
                return at == end ? 1 : -1;
            a->phase = CHUNK_END;
            continue;
        }
        char byte = *at++;
        if (byte == '\r')
            continue;
        if (a->phase == CHUNK_END) {
            if (byte != '\n')
                return -1;
            a->phase = CHUNK_SIZE;
            a->line = 0;
        } else if (a->phase == CHUNK_TRAILER) {
            if (byte == '\n' && !a->line)
                return at == end ? 1 : -1;
            a->line = byte != '\n';
        } else if (byte == '\n') {
            if (!a->line)
                return -1;
            a->phase = a->left ? CHUNK_DATA : CHUNK_TRAILER;
            a->line = 0;
        } else {
            const char *digits = "0123456789abcdef", *digit = strchr(digits, byte | 32);
            if (!byte || !digit)
                return -1; /* Nobody here sends chunk extensions. */
            a->left = a->left * 16 + (uint64_t)(digit - digits);
            a->line = 1;
        }
    }
    return 0;
}
