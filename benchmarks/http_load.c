/* HTTP/1.1 requests made beforehand, sent over connections that stay: a load generator that costs next to nothing.

   http_load PORT CONNECTIONS RATE SECONDS < requests
   Standard input: each request as uint32 (little-endian) length and bytes. Connection c sends requests c, c + CONNECTIONS,
   c + 2 CONNECTIONS … in order, one at a time. RATE 0: closed loop, the next as soon as the last is answered. Otherwise
   request j is due at j / RATE seconds, and its latency counts from then, even if its connection was busy (open loop).
   Prints one line of JSON: answered, failed (status other than 200), seconds, p50, p99 and worst latency in ms. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 22, MOST = 256 };

typedef struct { char *bytes; uint32_t size; } Request;
typedef struct { int file; size_t next, sent, got; int busy; double due; char *answer; } Connection;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fail(const char *what) { perror(what); exit(1); }

/* The status once the answer is whole, else 0. */
static int status(const Connection *c) {
    char *end = memmem(c->answer, c->got, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t length = 0, head = end - c->answer + 4;
    for (char *line = c->answer; line < end; line = strstr(line, "\r\n") + 2)
        if (!strncasecmp(line, "content-length:", 15)) length = strtoul(line + 15, NULL, 10);
    return c->got >= head + length ? atoi(c->answer + 9) : 0;
}

int main(int count, char **arguments) {
    if (count != 5) { fprintf(stderr, "http_load PORT CONNECTIONS RATE SECONDS < requests\n"); return 2; }
    int connections = atoi(arguments[2]);
    double rate = atof(arguments[3]), seconds = atof(arguments[4]);
    if (connections < 1 || connections > MOST) return 2;
    Request *requests = NULL;
    size_t total = 0, done = 0, failed = 0;
    for (uint32_t size; fread(&size, 4, 1, stdin) == 1; total++) {
        if (!(total & (total - 1))) requests = realloc(requests, sizeof(Request) * (total ? 2 * total : 1));
        requests[total] = (Request){malloc(size), size};
        if (fread(requests[total].bytes, 1, size, stdin) != size) fail("requests");
    }
    double *latency = malloc(sizeof(double) * (total + 1));
    Connection all[MOST];
    struct pollfd polled[MOST];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    for (int i = 0; i < connections; i++) {
        all[i] = (Connection){.file = socket(AF_INET, SOCK_STREAM, 0), .next = i, .answer = malloc(ROOM)};
        int on = 1;
        setsockopt(all[i].file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(all[i].file, (void *)&to, sizeof to)) fail("connect");
    }
    double start = now(), end = start + seconds;
    for (;;) {
        double t = now(), soonest = end;
        int active = 0;
        for (int i = 0; i < connections; i++) {
            Connection *c = &all[i];
            double due = rate > 0 ? start + c->next / rate : t;
            if (!c->busy && c->next < total && t < end && due <= t) {
                Request *r = &requests[c->next];
                for (size_t at = 0; at < r->size;) {
                    ssize_t n = write(c->file, r->bytes + at, r->size - at);
                    if (n <= 0) fail("write");
                    at += n;
                }
                c->busy = 1, c->got = 0, c->due = due, c->next += connections;
            } else if (!c->busy && c->next < total && due < soonest)
                soonest = due;
            polled[i] = (struct pollfd){.fd = c->busy ? c->file : -1, .events = POLLIN};
            active += c->busy || (c->next < total && t < end);
        }
        if (!active) break;
        int wait = (int)((soonest - now()) * 1000);
        poll(polled, connections, wait < 0 ? 0 : wait > 1000 ? 1000 : wait);
        for (int i = 0; i < connections; i++) {
            Connection *c = &all[i];
            if (!c->busy || !(polled[i].revents & (POLLIN | POLLHUP | POLLERR))) continue;
            ssize_t n = read(c->file, c->answer + c->got, ROOM - c->got - 1);
            if (n <= 0) { fprintf(stderr, "connection %d was closed\n", i); return 1; }
            c->got += n, c->answer[c->got] = 0;
            int said = status(c);
            if (!said) continue;
            if (said != 200 && !failed++) fprintf(stderr, "%.*s\n", (int)(c->got < 2000 ? c->got : 2000), c->answer);
            latency[done++] = now() - c->due;
            c->busy = 0;
        }
    }
    double took = now() - start;
    qsort(latency, done, sizeof(double), compare);
    if (!done) return 1;
    printf("{\"answered\": %zu, \"failed\": %zu, \"seconds\": %.3f, \"p50\": %.3f, \"p99\": %.3f, \"worst\": %.3f}\n", done,
           failed, took, latency[done / 2] * 1e3, latency[done * 99 / 100] * 1e3, latency[done - 1] * 1e3);
    return 0;
}
