/* What the load client sends: heads, one for each secret, and a body, all from files. */
#ifndef REQUEST_H
#define REQUEST_H
#include <stddef.h>
#include <sys/uio.h>

/* Say what failed, with the system's reason, and end with 2. */
void die(const char *what) __attribute__((noreturn));

/* The whole file, with a zero byte behind it. */
char *read_file(const char *name, size_t *length);

/* The template once for each line of the file of secrets, which takes the place of `{secret}` in it. */
struct iovec *read_heads(const char *template_file, const char *secrets_file, unsigned *count);

#endif
