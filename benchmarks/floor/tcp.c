/* The floor over TCP: a blocking ping-pong between two processes over loopback.
 *
 * A request of 16 bytes goes one way, a reply of SIZE bytes comes back, and nothing
 * else happens. No environment behind a TCP connection can be faster on this machine,
 * unless it looks for what comes before it sleeps.
 *
 * Usage: tcp SIZE SECONDS WARMUP_SECONDS
 * Prints one line of JSON with times in microseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_BYTES 16
#define STEPS_MAX 2000000
/* A run that lasts longer than this has hung: SIGALRM ends it. */
#define RUN_LIMIT_S 120

static void die(const char *what)
{
    fprintf(stderr, "tcp: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Send at once; and without BBR, which paces even on loopback. */
static void tune(int fd)
{
    const int one = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        die("TCP_NODELAY");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
}

static void send_all(int fd, const unsigned char *data, size_t size)
{
    while (size > 0) {
        const ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0)
            die("send");
        data += sent;
        size -= (size_t)sent;
    }
}

/* Returns 0 where the other end has closed. */
static int receive_all(int fd, unsigned char *data, size_t size)
{
    while (size > 0) {
        const ssize_t got = recv(fd, data, size, 0);
        if (got < 0)
            die("recv");
        if (got == 0)
            return 0;
        data += got;
        size -= (size_t)got;
    }
    return 1;
}

static void respond(int listener, unsigned char *frame, size_t size)
{
    unsigned char request[REQUEST_BYTES];
    const int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        die("accept");
    tune(fd);
    while (receive_all(fd, request, sizeof request)) {
        frame[0]++;
        send_all(fd, frame, size);
    }
}

static void round_trip(int fd, unsigned char *frame, size_t size)
{
    static const unsigned char request[REQUEST_BYTES];
    send_all(fd, request, sizeof request);
    if (!receive_all(fd, frame, size)) {
        fprintf(stderr, "tcp: the other end is gone\n");
        exit(1);
    }
}

static int ascending(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void request(int fd, unsigned char *frame, size_t size, double seconds,
                    double warmup)
{
    uint32_t *durations = malloc(STEPS_MAX * sizeof *durations);
    uint64_t began = now_ns(), ended;
    size_t steps = 0;
    if (durations == NULL)
        die("malloc");
    while (now_ns() - began < (uint64_t)(warmup * 1e9))
        round_trip(fd, frame, size);
    began = ended = now_ns();
    while (steps < STEPS_MAX && (steps == 0 || ended - began < (uint64_t)(seconds * 1e9))) {
        const uint64_t before = now_ns();
        round_trip(fd, frame, size);
        ended = now_ns();
        durations[steps++] = (uint32_t)(ended - before);
    }
    qsort(durations, steps, sizeof *durations, ascending);
    printf("{\"p50_us\": %.3f, \"p99_us\": %.3f, \"steps_per_s\": %.1f, \"steps\": %zu}\n",
           durations[steps / 2] / 1e3, durations[steps * 99 / 100] / 1e3,
           (double)steps * 1e9 / (double)(ended - began), steps);
}

static int listen_on(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)address, length) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)address, &length) != 0)
        die("listen");
    return listener;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    if (argc != 4) {
        fprintf(stderr, "usage: tcp SIZE SECONDS WARMUP_SECONDS\n");
        return 2;
    }
    const size_t size = strtoul(argv[1], NULL, 10);
    unsigned char *frame = size > 0 ? malloc(size) : NULL;
    if (frame == NULL) {
        fprintf(stderr, "tcp: SIZE must be positive, and memory must be had\n");
        return 2;
    }
    memset(frame, 1, size);
    const int listener = listen_on(&address);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            respond(listener, frame, size);
        return 0;
    }
    close(listener);
    alarm(RUN_LIMIT_S);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    tune(fd);
    request(fd, frame, size, atof(argv[2]), atof(argv[3]));
    close(fd);
    waitpid(child, NULL, 0);
    return 0;
}
