/* A load client at native speed, for the benchmark: one thread, epoll, HTTP/1.1 keep-alive, to a port on loopback.
 *
 * `load --port N --head FILE --body FILE --secrets FILE --output FILE --connections N ...` with one of
 *
 *   --seconds T           closed loop: each connection sends its next request when the last one is answered
 *   --seconds T --rate R  open loop: R requests a second, whatever the answers take; a request's time begins when it
 *                         was due, so a server that falls behind cannot hide it
 *   --streams [--ramp T]  each connection is opened within T seconds (0: all at once) and sends one request; its time
 *                         begins with the connection
 *
 * FILE of --head holds the request line and headers; `{secret}` in it is replaced by the secrets, one a line, in turn.
 * An answer counts when its status is 200 and it ended as its framing says. Everything else is a failure of a kind;
 * more than --failures of them end the run. Prints a line of JSON; --output gets two 32-bit numbers for each answer:
 * microseconds to the first byte of its body and to its end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
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

#include "answer.h"
#include "request.h"

#define SECOND 1000000000ULL

enum failure { CONNECT, STATUS, CLOSED, FRAMING, UNFINISHED, KINDS };
static const char *const NAMES[KINDS] = {"connect", "status", "closed", "framing", "unfinished"};

struct connection {
    int fd, connecting, busy;
    const struct iovec *head; /* Of the request under way. */
    size_t sent;
    uint64_t began, first; /* ns; first: 0 until a byte of the body came. */
    struct answer answer;
};

static struct options {
    unsigned port, connections, streams, failures;
    double seconds, rate, ramp, patience;
    const char *head, *body, *secrets, *output;
} job = {.connections = 1, .seconds = 1, .patience = 60, .failures = 1000};

static struct connection *all;
static struct connection **idle;
static unsigned idle_count, busy_count, open_streams, peak_streams;
static struct iovec *heads;
static unsigned head_count, next_head;
static char *body;
static size_t body_length;
static int poller, timer;
static uint64_t started, deadline, ended;
static uint64_t issued;
static unsigned failures[KINDS], failed;
static int odd_status;
static uint64_t least_body = UINT64_MAX, most_body;
static uint32_t *times;
static size_t answers, room;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* --- the end of a request ----------------------------------------------------------------------------------------- */
static void begin(struct connection *c, uint64_t at);
static int link_up(struct connection *c, int wait);

static void free_connection(struct connection *c) {
    c->busy = 0;
    busy_count--;
    if (c->first && job.streams)
        open_streams--;
}

static void go_on(struct connection *c) {
    uint64_t now = now_ns();
    ended = now;
    if (job.streams) {
        if (c->fd >= 0)
            close(c->fd);
        c->fd = -1;
    } else if (c->fd < 0 && (now >= deadline || link_up(c, 1))) {
        return;
    } else if (job.rate > 0) {
        idle[idle_count++] = c;
    } else if (now < deadline) {
        begin(c, now);
    }
}

static void fail(struct connection *c, enum failure kind) {
    failures[kind]++;
    failed++;
    free_connection(c);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->connecting = 0;
    if (failed <= job.failures)
        go_on(c);
}

static void finish(struct connection *c) {
    uint64_t now = now_ns();
    if (c->sent < c->head->iov_len + body_length) /* Answered before all was sent: the connection is of no use. */
        c->answer.last = 1;
    if (c->answer.status != 200) {
        odd_status = c->answer.status;
        failures[STATUS]++;
        failed++;
    } else {
        if (answers == room && !(times = realloc(times, sizeof *times * 2 * (room = room * 2 + 4096))))
            die("times");
        times[2 * answers] = (uint32_t)(((c->first ? c->first : now) - c->began) / 1000);
        times[2 * answers + 1] = (uint32_t)((now - c->began) / 1000);
        answers++;
        if (c->answer.body < least_body)
            least_body = c->answer.body;
        if (c->answer.body > most_body)
            most_body = c->answer.body;
    }
    free_connection(c);
    if (c->answer.last) {
        close(c->fd);
        c->fd = -1;
    }
    if (failed <= job.failures)
        go_on(c);
}

/* --- sending ------------------------------------------------------------------------------------------------------ */
static void push(struct connection *c) {
    while (c->sent < c->head->iov_len + body_length) {
        size_t in_head = c->sent < c->head->iov_len ? c->sent : c->head->iov_len, in_body = c->sent - in_head;
        struct iovec parts[2] = {{(char *)c->head->iov_base + in_head, c->head->iov_len - in_head},
                                 {body + in_body, body_length - in_body}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
            /* A refusal may have come before the connection broke: what can be read tells. */
            if (errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
                fail(c, CLOSED);
            return;
        }
        c->sent += (size_t)n;
    }
}

static void begin(struct connection *c, uint64_t at) {
    c->began = at;
    c->first = c->sent = 0;
    answer_begin(&c->answer);
    c->busy = 1;
    busy_count++;
    c->head = &heads[next_head];
    next_head = (next_head + 1) % head_count;
    if (!c->connecting)
        push(c);
}

/* Open a connection; with `wait` it stands when this returns. 0: it does, or will. */
static int link_up(struct connection *c, int wait) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)job.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    int refused = connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS;
    if (refused && wait) {
        failures[CONNECT]++;
        failed++;
        close(c->fd);
        c->fd = -1;
        return -1;
    }
    c->connecting = !wait;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event))
        die("epoll_ctl");
    return 0;
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */
static void receive(struct connection *c, uint32_t events) {
    static char bytes[256 * 1024];
    for (;;) {
        ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        if (!c->busy) { /* The server closed an idle connection. */
            close(c->fd);
            c->fd = -1;
            if (!job.streams && now_ns() < deadline)
                link_up(c, 1);
            return;
        }
        int state = n > 0 ? answer_take(&c->answer, bytes, (size_t)n) : -1;
        if (c->answer.body && !c->first) {
            c->first = now_ns();
            if (job.streams && ++open_streams > peak_streams)
                peak_streams = open_streams;
        }
        if (state < 0) {
            fail(c, n > 0 ? FRAMING : CLOSED);
            return;
        }
        if (state > 0) {
            finish(c);
            return;
        }
        if ((size_t)n < sizeof bytes && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            return;
    }
}

static void handle(struct connection *c, uint32_t events) {
    if (c->fd < 0)
        return;
    if (c->connecting) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error || (events & EPOLLERR)) {
            fail(c, CONNECT);
            return;
        }
        if (!(events & EPOLLOUT))
            return;
        c->connecting = 0;
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        receive(c, events);
    if ((events & EPOLLOUT) && c->busy && c->sent < c->head->iov_len + body_length)
        push(c);
}

/* --- the run ------------------------------------------------------------------------------------------------------ */
/* When the next request or stream is due, in ns of the clock; 0: all are under way or done. */
static uint64_t next_due(void) {
    if (job.streams ? issued >= job.connections : job.rate <= 0)
        return 0;
    double gap = job.streams ? job.ramp / job.connections : 1 / job.rate;
    uint64_t due = started + (uint64_t)((double)issued * gap * 1e9);
    return job.streams || due < deadline ? due : 0;
}

/* Start what is due and has a connection. Gives when the next is; 0: nothing waits for a time. */
static uint64_t start_due(void) {
    uint64_t due;
    while ((due = next_due()) && due <= now_ns() && (job.streams || idle_count)) {
        struct connection *c = job.streams ? &all[issued] : idle[--idle_count];
        issued++;
        if (job.streams && link_up(c, 0))
            die("connect");
        begin(c, job.streams ? now_ns() : due);
    }
    return job.streams || idle_count ? due : 0;
}

static int is_over(uint64_t now) {
    if (failed > job.failures || now > deadline + (uint64_t)(job.patience * 1e9))
        return 1;
    if (busy_count || ((job.streams || idle_count) && next_due()))
        return 0;
    return job.streams || now >= deadline;
}

static void run(void) {
    struct epoll_event events[512];
    all = calloc(job.connections, sizeof *all);
    idle = calloc(job.connections, sizeof *idle);
    for (unsigned n = 0; n < job.connections; n++) {
        all[n].fd = -1;
        if (!job.streams && link_up(&all[n], 1))
            die("connect");
    }
    started = ended = now_ns();
    deadline = started + (uint64_t)((job.streams ? job.ramp : job.seconds) * 1e9);
    for (unsigned n = 0; !job.streams && n < job.connections; n++) {
        if (job.rate > 0)
            idle[idle_count++] = &all[n];
        else
            begin(&all[n], now_ns());
    }
    while (!is_over(now_ns())) {
        uint64_t due = start_due();
        struct itimerspec when = {.it_value = {(time_t)(due / SECOND), (long)(due % SECOND)}};
        if (job.streams || job.rate > 0)
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
        int n = epoll_wait(poller, events, 512, 20);
        for (int at = 0; at < n; at++) {
            if (events[at].data.ptr)
                handle(events[at].data.ptr, events[at].events);
        }
    }
    failures[UNFINISHED] = busy_count;
    failed += busy_count;
}

static void report(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    FILE *output = fopen(job.output ? job.output : "", "wb");
    if (!output || fwrite(times, 2 * sizeof *times, answers, output) != answers || fclose(output))
        die("--output");
    printf("{\"requests\":%zu,\"failed\":%u,\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"peak_streams\":%u,"
           "\"odd_status\":%d,\"body_bytes\":[%llu,%llu],\"failures\":{",
           answers, failed, (double)(ended - started) / 1e9,
           (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
               (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
           peak_streams, odd_status, (unsigned long long)(answers ? least_body : 0), (unsigned long long)most_body);
    for (int kind = 0; kind < KINDS; kind++)
        printf("%s\"%s\":%u", kind ? "," : "", NAMES[kind], failures[kind]);
    printf("}}\n");
}

static void read_options(int count, char **arguments) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'},    {"head", 1, 0, 'h'},    {"body", 1, 0, 'b'},        {"secrets", 1, 0, 's'},
        {"output", 1, 0, 'o'},  {"seconds", 1, 0, 't'}, {"connections", 1, 0, 'c'}, {"rate", 1, 0, 'r'},
        {"streams", 0, 0, 'n'}, {"ramp", 1, 0, 'm'},    {"patience", 1, 0, 'w'},    {"failures", 1, 0, 'f'},
        {0, 0, 0, 0}};
    const char **texts[] = {['h'] = &job.head, ['b'] = &job.body, ['s'] = &job.secrets, ['o'] = &job.output};
    unsigned *counts[] = {['p'] = &job.port, ['c'] = &job.connections, ['f'] = &job.failures};
    double *numbers[] = {['t'] = &job.seconds, ['r'] = &job.rate, ['m'] = &job.ramp, ['w'] = &job.patience};
    for (int name; (name = getopt_long(count, arguments, "", known, NULL)) >= 0;) {
        if (name == 'n')
            job.streams = 1;
        else if (strchr("hbso", name))
            *texts[name] = optarg;
        else if (strchr("pcf", name))
            *counts[name] = (unsigned)atoi(optarg);
        else if (strchr("trmw", name))
            *numbers[name] = atof(optarg);
        else
            exit(2);
    }
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    body = read_file(job.body, &body_length);
    heads = read_heads(job.head, job.secrets, &head_count);
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (poller < 0 || timer < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event))
        die("epoll");
    run();
    report();
    return 0;
}
