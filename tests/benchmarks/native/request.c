/* Reads what the load client sends. */
#define _GNU_SOURCE
#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *what) {
    perror(what);
    exit(2);
}

char *read_file(const char *name, size_t *length) {
    FILE *file = fopen(name ? name : "", "rb");
    if (!file || fseek(file, 0, SEEK_END))
        die(name ? name : "a file is missing");
    *length = (size_t)ftell(file);
    rewind(file);
    char *bytes = calloc(1, *length + 1);
    if (!bytes || fread(bytes, 1, *length, file) != *length)
        die(name);
    fclose(file);
    return bytes;
}

struct iovec *read_heads(const char *template_file, const char *secrets_file, unsigned *count) {
    struct iovec *heads = NULL;
    size_t ignored;
    char *template = read_file(template_file, &ignored), *rest = read_file(secrets_file, &ignored), *secret;
    char *mark = strstr(template, "{secret}");
    while ((secret = strsep(&rest, "\n"))) {
        if (!*secret)
            continue;
        char *text = NULL;
        int n = mark ? asprintf(&text, "%.*s%s%s", (int)(mark - template), template, secret, mark + 8)
                     : asprintf(&text, "%s", template);
        if (n < 0 || !(heads = realloc(heads, sizeof *heads * (*count + 1))))
            die("heads");
        heads[(*count)++] = (struct iovec){text, (size_t)n};
    }
    if (!*count)
        die("no secrets");
    return heads;
}
