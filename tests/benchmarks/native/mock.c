/* A provider at native speed, for the benchmark: one thread, epoll, HTTP/1.1 keep-alive, on a loopback port.
 *
 * `mock [PORT]` prints "mock on PORT" and answers until it is ended. A request's head is read, its body is skipped
 * unread. What it answers is named by `mock=NAME` in the query, or else by the path's first segment:
 *
 *   json               1 KB of JSON (the answer to any other name as well)
 *   paced              a stream of 300 events, 5 ms apart
 *   burst              the same stream, at once
 *   slow-EVENTS-GAPMS  a stream of EVENTS events, GAPMS milliseconds apart
 *   error-STATUS       an error in Anthropic's envelope with this status
 *   stats              what it has seen so far, as JSON (GET /stats)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 300
#define GAP_NS 5000000ULL
#define HEAD_BYTES 16384
#define USAGE                                                                                                          \
    "{\"input_tokens\":500,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":200}"

struct buffer {
    char *bytes;
    size_t length;
};

struct connection {
    int fd;
    size_t head_length;
    uint64_t body_left;
    int in_body;
    struct buffer out; /* What is being sent, and how much of it went. */
    size_t sent;
    char *own; /* To be freed once sent. */
    int streaming;
    unsigned piece, events; /* Next piece of the stream: 0 opens it, `events` ends it. */
    uint64_t began, gap, due;
    int heap_at; /* -1: not waiting. */
    char head[HEAD_BYTES];
};

static struct buffer json, opening, delta, ending, burst;
static struct {
    unsigned long long connections, requests, body_bytes, aborted, streams, peak_streams;
} seen;
static int poller, timer;
static uint64_t armed;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

__attribute__((format(printf, 2, 3))) static void add(struct buffer *to, const char *format, ...) {
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    size_t n = (size_t)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (n >= sizeof text || !(to->bytes = realloc(to->bytes, to->length + n)))
        die("add");
    memcpy(to->bytes + to->length, text, n);
    to->length += n;
}

/* An event of the stream as one HTTP chunk. */
static void add_event(struct buffer *to, const char *name, const char *data) {
    size_t size = strlen("event: \ndata: \n\n") + strlen(name) + strlen(data);
    add(to, "%zx\r\nevent: %s\ndata: %s\n\n\r\n", size, name, data);
}

static void make_answers(void) {
    char text[701] = {0}, body[1024];
    memset(text, 'x', 700);
    int n = snprintf(body, sizeof body,
                     "{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-haiku-5-5\","
                     "\"content\":[{\"type\":\"text\",\"text\":\"%s\"}],\"stop_reason\":\"end_turn\",\"usage\":%s}",
                     text, USAGE);
    add(&json,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_bench\r\ncontent-length: %d\r\n\r\n%s", n,
        body);
    add(&opening, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_bench\r\n"
                  "transfer-encoding: chunked\r\n\r\n");
    add_event(&opening, "message_start",
              "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_bench\",\"type\":\"message\","
              "\"model\":\"claude-haiku-5-5\",\"usage\":" USAGE "}}");
    add_event(&opening, "content_block_start",
              "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}");
    add_event(&delta, "content_block_delta",
              "{\"type\":\"content_block_delta\",\"index\":0,"
              "\"delta\":{\"type\":\"text_delta\",\"text\":\"a few words of text \"}}");
    add_event(&ending, "content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}");
    add_event(&ending, "message_delta",
              "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":" USAGE "}");
    add_event(&ending, "message_stop", "{\"type\":\"message_stop\"}");
    add(&ending, "0\r\n\r\n");
    add(&burst, "%.*s", (int)opening.length, opening.bytes);
    for (int n = 0; n < EVENTS; n++)
        add(&burst, "%.*s", (int)delta.length, delta.bytes);
    add(&burst, "%.*s", (int)ending.length, ending.bytes);
    add(&opening, "%.*s", (int)delta.length, delta.bytes); /* The first event follows at once. */
}

/* --- streams that wait for their next event: a binary heap by the time it is due ---------------------------------- */
static struct connection **heap;
static int heap_size, heap_room;

static void place(int at, struct connection *c) {
    heap[at] = c;
    c->heap_at = at;
}

static void sift(int at, struct connection *c) {
    for (; at > 0 && heap[(at - 1) / 2]->due > c->due; at = (at - 1) / 2)
        place(at, heap[(at - 1) / 2]);
    for (int child; (child = 2 * at + 1) < heap_size; at = child) {
        if (child + 1 < heap_size && heap[child + 1]->due < heap[child]->due)
            child++;
        if (heap[child]->due >= c->due)
            break;
        place(at, heap[child]);
    }
    place(at, c);
}

static void wait_for(struct connection *c, uint64_t due) {
    if (heap_size == heap_room && !(heap = realloc(heap, sizeof *heap * (size_t)(heap_room = heap_room * 2 + 64))))
        die("heap");
    c->due = due;
    sift(heap_size++, c);
}

static void wait_no_more(struct connection *c) {
    if (c->heap_at < 0)
        return;
    int at = c->heap_at;
    c->heap_at = -1;
    struct connection *last = heap[--heap_size];
    if (last != c)
        sift(at, last);
}

static void arm(void) {
    uint64_t due = heap_size ? heap[0]->due : 0;
    if (due == armed)
        return;
    armed = due;
    struct itimerspec when = {.it_value = {(time_t)(due / 1000000000ULL), (long)(due % 1000000000ULL)}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL))
        die("timerfd_settime");
}

/* --- answering ---------------------------------------------------------------------------------------------------- */
static void drop(struct connection *c) {
    if (c->streaming || c->in_body || c->sent < c->out.length)
        seen.aborted++;
    if (c->streaming)
        seen.streams--;
    wait_no_more(c);
    close(c->fd);
    free(c->own);
    free(c);
}

/* Send what is due. 0: all of it went or must wait; -1: the connection is gone. */
static int push(struct connection *c) {
    for (;;) {
        while (c->sent < c->out.length) {
            ssize_t n = send(c->fd, c->out.bytes + c->sent, c->out.length - c->sent, MSG_NOSIGNAL);
            if (n < 0)
                return errno == EAGAIN ? 0 : -1;
            c->sent += (size_t)n;
        }
        if (!c->streaming) {
            free(c->own);
            c->own = NULL;
            return 0;
        }
        if (c->piece > c->events) {
            c->streaming = 0;
            seen.streams--;
            continue;
        }
        uint64_t due = c->began + c->piece * c->gap;
        if (due > now_ns()) {
            wait_for(c, due);
            return 0;
        }
        c->out = c->piece == 0 ? opening : c->piece < c->events ? delta : ending;
        c->sent = 0;
        c->piece++;
    }
}

static void stream(struct connection *c, unsigned events, uint64_t gap) {
    c->streaming = 1;
    c->piece = 0;
    c->events = events;
    c->gap = gap;
    c->began = now_ns();
    if (++seen.streams > seen.peak_streams)
        seen.peak_streams = seen.streams;
}

static void own_answer(struct connection *c, int status, const char *body) {
    struct buffer made = {0};
    add(&made, "HTTP/1.1 %d Status\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", status,
        strlen(body), body);
    c->out = made;
    c->own = made.bytes;
}

static int answer(struct connection *c) {
    unsigned events, gap, status;
    char text[512];
    if (c->streaming || c->sent < c->out.length)
        return -1; /* A second request before the first was answered: nobody here does so. */
    const char *name = strstr(c->head, "mock="), *path = strchr(c->head, ' ');
    name = name ? name + 5 : path && path[1] ? path + 2 : "";
    c->sent = 0;
    c->head_length = 0;
    if (!strncmp(name, "stats", 5)) {
        snprintf(text, sizeof text,
                 "{\"connections\":%llu,\"requests\":%llu,\"body_bytes\":%llu,\"aborted\":%llu,\"streams\":%llu,"
                 "\"peak_streams\":%llu}",
                 seen.connections, seen.requests, seen.body_bytes, seen.aborted, seen.streams, seen.peak_streams);
        own_answer(c, 200, text);
        return push(c);
    }
    seen.requests++;
    if (!strncmp(name, "paced", 5)) {
        c->out.length = 0;
        stream(c, EVENTS, GAP_NS);
    } else if (sscanf(name, "slow-%u-%u", &events, &gap) == 2) {
        c->out.length = 0;
        stream(c, events, gap * 1000000ULL);
    } else if (sscanf(name, "error-%u", &status) == 1) {
        own_answer(c, (int)status, "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"as asked\"}}");
    } else {
        c->out = strncmp(name, "burst", 5) ? json : burst;
    }
    return push(c);
}

/* Take in bytes of a request. -1: the connection is gone or does not speak HTTP. */
static int take(struct connection *c, const char *bytes, size_t length) {
    while (length) {
        if (c->in_body) {
            size_t n = length < c->body_left ? length : (size_t)c->body_left;
            seen.body_bytes += n;
            c->body_left -= n;
            bytes += n;
            length -= n;
        } else {
            size_t had = c->head_length, n = length < HEAD_BYTES - 1 - had ? length : HEAD_BYTES - 1 - had;
            memcpy(c->head + had, bytes, n);
            c->head[had + n] = 0;
            char *end = strstr(c->head + (had > 3 ? had - 3 : 0), "\r\n\r\n");
            if (!end) {
                c->head_length = had + n;
                return had + n < HEAD_BYTES - 1 ? 0 : -1;
            }
            size_t taken = (size_t)(end + 4 - c->head) - had;
            *end = 0;
            const char *field = strcasestr(c->head, "\r\ncontent-length:");
            c->body_left = field ? strtoull(field + 17, NULL, 10) : 0;
            c->in_body = 1;
            bytes += taken;
            length -= taken;
        }
        if (c->in_body && !c->body_left) {
            c->in_body = 0;
            if (answer(c))
                return -1;
        }
    }
    return 0;
}

static void greet(int listener) {
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            die("calloc");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        c->fd = fd;
        c->heap_at = -1;
        seen.connections++;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
            die("epoll_ctl");
    }
}

static void serve(struct connection *c, uint32_t events) {
    static char bytes[256 * 1024];
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        for (;;) {
            ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
            if (n == 0 || (n < 0 && errno != EAGAIN) || (n > 0 && take(c, bytes, (size_t)n))) {
                drop(c);
                return;
            }
            if (n < 0 || ((size_t)n < sizeof bytes && !(events & EPOLLRDHUP)))
                break;
        }
    }
    if ((events & EPOLLOUT) && c->sent < c->out.length && push(c))
        drop(c);
}

int main(int count, char **arguments) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    make_answers();
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)(count > 1 ? atoi(arguments[1]) : 0)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        die("listen");
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = NULL});
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &timer});
    printf("mock on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[512];
        int n = epoll_wait(poller, events, 512, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int at = 0; at < n; at++) {
            if (!events[at].data.ptr)
                greet(listener);
            else if (events[at].data.ptr != &timer)
                serve(events[at].data.ptr, events[at].events);
        }
        uint64_t now = now_ns();
        while (heap_size && heap[0]->due <= now) {
            struct connection *c = heap[0];
            wait_no_more(c);
            if (push(c))
                drop(c);
        }
        arm();
    }
}
