/* The floor: a ping-pong between two processes over one mapped file.
 *
 * The requester writes a small action and its sequence number; the responder
 * stamps its private frame, copies it into the slot and answers; the requester
 * copies the frame out. Nothing else happens, so no environment in another
 * process can be faster than this on the same machine.
 *
 * The mapped file, one page of control words and then the payload:
 *
 *     offset  size  meaning
 *          0     4  request: sequence of the last request
 *          4     4  request_sleeping: the responder sleeps on the request word
 *         64     8  action
 *        128     4  response: sequence of the last response
 *        132     4  response_sleeping: the requester sleeps on the response word
 *       4096     -  one or two payload buffers (index: sequence & 1), page-aligned
 *
 * Usage: pingpong MODE COPY SIZE BUFFERS SECONDS WARMUP_SECONDS DIR [CPU CPU]
 *   MODE     spin | futex | fixed | burst
 *   COPY     kept | fresh | none
 *   SIZE     payload in bytes
 *   BUFFERS  1 or 2
 *   DIR      where the file is made (it is unlinked at once)
 *   CPU CPU  where requester and responder are pinned; without them, nowhere
 * Prints one line of JSON with times in microseconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum mode { SPIN, FUTEX, FIXED, BURST };
enum copy { KEPT, FRESH, NONE };

#define CONTROL_BYTES 4096
#define SPIN_BUDGET_NS 50000
#define BURST_PAUSES 16
#define FUTEX_SLICE_NS 100000000
#define STEPS_MAX 20000000
/* A run that lasts longer than this has hung: SIGALRM ends it. */
#define RUN_LIMIT_S 120

struct control {
    _Alignas(64) _Atomic uint32_t request;
    _Atomic uint32_t request_sleeping;
    _Alignas(64) uint64_t action;
    _Alignas(64) _Atomic uint32_t response;
    _Atomic uint32_t response_sleeping;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void die(const char *what)
{
    fprintf(stderr, "pingpong: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void post(_Atomic uint32_t *word, _Atomic uint32_t *sleeping, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
    /* The store must be visible before the flag is read, or a waiter that
     * raises its flag in between would sleep through the wake-up. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(sleeping, memory_order_relaxed))
        syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static int arrived(_Atomic uint32_t *word, uint32_t old)
{
    return atomic_load_explicit(word, memory_order_acquire) != old;
}

static void sleep_until_changed(_Atomic uint32_t *word, _Atomic uint32_t *sleeping,
                                uint32_t old)
{
    const struct timespec slice = {0, FUTEX_SLICE_NS};
    atomic_store_explicit(sleeping, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    while (!arrived(word, old))
        syscall(SYS_futex, word, FUTEX_WAIT, old, &slice, NULL, 0);
    atomic_store_explicit(sleeping, 0, memory_order_relaxed);
}

static void wait_until_changed(enum mode mode, _Atomic uint32_t *word,
                               _Atomic uint32_t *sleeping, uint32_t old)
{
    if (mode == SPIN) {
        while (!arrived(word, old))
            pause_cpu();
        return;
    }
    if (mode != FUTEX) {
        const uint64_t deadline = now_ns() + SPIN_BUDGET_NS;
        do {
            for (int i = 0; i < BURST_PAUSES; i++) {
                if (arrived(word, old))
                    return;
                pause_cpu();
            }
            if (mode == BURST)
                sched_yield();
        } while (now_ns() < deadline);
    }
    sleep_until_changed(word, sleeping, old);
}

static void pin(int cpu)
{
    cpu_set_t set;
    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        die("sched_setaffinity");
}

static void respond(struct control *c, unsigned char *payload, size_t size, int buffers,
                    enum mode mode)
{
    unsigned char *frame = malloc(size);
    uint32_t seen = 0;
    if (frame == NULL)
        die("malloc");
    memset(frame, 1, size);
    for (;;) {
        wait_until_changed(mode, &c->request, &c->request_sleeping, seen);
        seen++;
        frame[0] = (unsigned char)(seen + c->action);
        memcpy(payload + (seen & (unsigned)(buffers - 1)) * size, frame, size);
        post(&c->response, &c->response_sleeping, seen);
    }
}

static void round_trip(struct control *c, uint32_t sequence, enum mode mode)
{
    c->action = 1;
    post(&c->request, &c->request_sleeping, sequence);
    wait_until_changed(mode, &c->response, &c->response_sleeping, sequence - 1);
}

/* Returns the array that holds the frame, as an environment would. */
static unsigned char *take(const unsigned char *slot, unsigned char *kept, size_t size,
                           enum copy copy)
{
    unsigned char *frame = kept;
    if (copy == NONE)
        return kept;
    if (copy == FRESH) {
        frame = malloc(size);
        if (frame == NULL)
            die("malloc");
    }
    memcpy(frame, slot, size);
    if (copy == FRESH)
        free(kept); /* as when a variable is bound to the next observation */
    return frame;
}

static int ascending(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void request(struct control *c, unsigned char *payload, size_t size, int buffers,
                    enum mode mode, enum copy copy, double seconds, double warmup)
{
    uint32_t *durations = malloc(STEPS_MAX * sizeof *durations);
    unsigned char *frame = malloc(size);
    uint64_t began = now_ns(), ended;
    uint32_t sequence = 0;
    size_t steps = 0;
    volatile unsigned char sink = 0;
    if (durations == NULL || frame == NULL)
        die("malloc");
    memset(frame, 0, size);
    while (now_ns() - began < (uint64_t)(warmup * 1e9)) {
        sequence++;
        round_trip(c, sequence, mode);
        frame = take(payload + (sequence & (unsigned)(buffers - 1)) * size, frame, size, copy);
    }
    began = ended = now_ns();
    while (steps < STEPS_MAX && ended - began < (uint64_t)(seconds * 1e9)) {
        const uint64_t before = now_ns();
        sequence++;
        round_trip(c, sequence, mode);
        frame = take(payload + (sequence & (unsigned)(buffers - 1)) * size, frame, size, copy);
        sink += frame[0];
        ended = now_ns();
        durations[steps++] = (uint32_t)(ended - before);
    }
    qsort(durations, steps, sizeof *durations, ascending);
    printf("{\"p50_us\": %.3f, \"p99_us\": %.3f, \"steps_per_s\": %.1f, \"steps\": %zu}\n",
           durations[steps / 2] / 1e3, durations[steps * 99 / 100] / 1e3,
           (double)steps * 1e9 / (double)(ended - began), steps);
}

static int choice(const char *word, const char *const names[], int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    fprintf(stderr, "pingpong: unknown word %s\n", word);
    exit(2);
}

static void *map_file(const char *directory, size_t bytes)
{
    char path[4096];
    void *memory;
    int fd;
    snprintf(path, sizeof path, "%s/pingpong.XXXXXX", directory);
    fd = mkstemp(path);
    if (fd < 0)
        die(path);
    unlink(path);
    errno = posix_fallocate(fd, 0, (off_t)bytes);
    if (errno != 0)
        die("posix_fallocate");
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    memset(memory, 0, bytes); /* no page fault is left for the measured steps */
    close(fd);
    return memory;
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {"spin", "futex", "fixed", "burst"};
    static const char *const copies[] = {"kept", "fresh", "none"};
    if (argc != 8 && argc != 10) {
        fprintf(stderr, "usage: pingpong MODE COPY SIZE BUFFERS SECONDS WARMUP DIR [CPU CPU]\n");
        return 2;
    }
    const enum mode mode = (enum mode)choice(argv[1], modes, 4);
    const enum copy copy = (enum copy)choice(argv[2], copies, 3);
    const size_t size = strtoul(argv[3], NULL, 10);
    const int buffers = atoi(argv[4]);
    if (size == 0 || (buffers != 1 && buffers != 2)) {
        fprintf(stderr, "pingpong: SIZE must be positive and BUFFERS 1 or 2\n");
        return 2;
    }
    unsigned char *memory = map_file(argv[7], CONTROL_BYTES + size * (size_t)buffers);
    struct control *c = (struct control *)memory;
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            return 1;
        pin(argc == 10 ? atoi(argv[9]) : -1);
        respond(c, memory + CONTROL_BYTES, size, buffers, mode);
        return 0;
    }
    alarm(RUN_LIMIT_S);
    pin(argc == 10 ? atoi(argv[8]) : -1);
    request(c, memory + CONTROL_BYTES, size, buffers, mode, copy, atof(argv[5]), atof(argv[6]));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
