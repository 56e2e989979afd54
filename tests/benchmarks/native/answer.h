/* How far an HTTP/1.1 answer has been read: its status, and whether it ended as its own framing says. No I/O. */
#ifndef ANSWER_H
#define ANSWER_H
#include <stddef.h>
#include <stdint.h>

#define HEAD_BYTES 16384

/* CHUNK_* are the places inside chunked framing. */
enum phase { HEAD, LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER };

struct answer {
    int status;    /* 0 until the head is complete. */
    int last;      /* The server closes the connection after it. */
    uint64_t body; /* Bytes of the body so far. */
    enum phase phase;
    uint64_t left; /* Bytes of the body, or of the chunk, still to come. */
    int line;      /* Something stands on this line of the chunked framing. */
    size_t head_length;
    char head[HEAD_BYTES];
};

void answer_begin(struct answer *a);

/* Take in bytes. 1: the answer is complete; 0: more must come; -1: it breaks its own framing, or has none. */
int answer_take(struct answer *a, const char *at, size_t n);

#endif
