/* A network that is late: passes TCP connections on, every byte so much later.
 *
 * One thread, one ring of bytes for each direction of each connection, and beside it a
 * queue that says until which byte what came when:
 *
 *     read -> | ring of bytes ............ | -> written once it is due
 *             | (end, due) (end, due) .... |
 *
 * Usage: delay HOST PORT SECONDS
 * Listens on a port of 127.0.0.1 that it says on stderr; ends with 0 on SIGTERM.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* What is on its way at 5 ms and 2 GB/s is 10 MB. */
#define RING_BYTES (16u << 20)
#define READS 65536u
#define READ_BYTES (256u << 10)
#define CONNECTIONS 8

struct read_mark {
  uint64_t end;    /* of the bytes that came with this read */
  int64_t due_ns;  /* when they may go on */
};

struct direction {
  int from, to;
  int over;           /* nothing more comes */
  int full;           /* the other side takes nothing now */
  char *ring;
  uint64_t got, sent; /* bytes, ever */
  struct read_mark *marks;
  uint64_t first, last;
};

static struct direction directions[2 * CONNECTIONS];
static int direction_count;
static volatile sig_atomic_t ended;

static void on_term(int number) {
  (void)number;
  ended = 1;
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void tune(int sock) {
  int on = 1;
  setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  /* BBR paces, even on loopback. */
  setsockopt(sock, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
}

static void open_direction(int from, int to) {
  struct direction *made = &directions[direction_count++];
  memset(made, 0, sizeof *made);
  made->from = from;
  made->to = to;
  made->ring = malloc(RING_BYTES);
  made->marks = malloc(READS * sizeof *made->marks);
  if (!made->ring || !made->marks) fail("malloc");
}

static void take_connection(int listener, const struct sockaddr_in *there) {
  int one = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
  if (one < 0) return;
  int other = socket(AF_INET, SOCK_STREAM, 0);
  if (direction_count == 2 * CONNECTIONS || other < 0 ||
      connect(other, (const struct sockaddr *)there, sizeof *there) < 0) {
    close(one);
    if (other >= 0) close(other);
    return;
  }
  tune(one);
  tune(other);
  open_direction(one, other);
  open_direction(other, one);
}

static int has_room(const struct direction *way) {
  return !way->over && RING_BYTES - (way->got - way->sent) >= READ_BYTES &&
         way->last - way->first < READS;
}

static void take_bytes(struct direction *way, int64_t late_ns) {
  size_t start = way->got % RING_BYTES, most = RING_BYTES - start;
  if (most > READ_BYTES) most = READ_BYTES;
  ssize_t size = recv(way->from, way->ring + start, most, MSG_DONTWAIT);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) {
    way->over = 1;
    return;
  }
  way->got += (uint64_t)size;
  way->marks[way->last++ % READS] = (struct read_mark){way->got, now_ns() + late_ns};
}

/* Write what is due; return when the next bytes are, or -1. */
static int64_t give_bytes(struct direction *way) {
  way->full = 0;
  while (way->first != way->last) {
    struct read_mark *mark = &way->marks[way->first % READS];
    if (mark->due_ns > now_ns()) return mark->due_ns;
    while (way->sent < mark->end) {
      size_t start = way->sent % RING_BYTES, size = mark->end - way->sent;
      if (size > RING_BYTES - start) size = RING_BYTES - start;
      ssize_t done = send(way->to, way->ring + start, size, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (done < 0 && (errno == EAGAIN || errno == EINTR)) {
        way->full = 1;
        return -1;
      }
      if (done < 0) { /* it is gone, and so is what was meant for it */
        way->first = way->last;
        way->sent = way->got;
        shutdown(way->from, SHUT_RDWR);
        return -1;
      }
      way->sent += (uint64_t)done;
    }
    way->first++;
  }
  if (way->over == 1) {
    shutdown(way->to, SHUT_WR);
    way->over = 2;
  }
  return -1;
}

static void pass_on(int listener, const struct sockaddr_in *there, int64_t late_ns) {
  struct pollfd polls[1 + 4 * CONNECTIONS];
  while (!ended) {
    int64_t next = -1;
    int count = 1;
    polls[0] = (struct pollfd){listener, POLLIN, 0};
    for (int i = 0; i < direction_count; i++) {
      struct direction *way = &directions[i];
      int64_t due = give_bytes(way);
      if (due >= 0 && (next < 0 || due < next)) next = due;
      polls[count++] = (struct pollfd){has_room(way) ? way->from : -1, POLLIN, 0};
      polls[count++] = (struct pollfd){way->full ? way->to : -1, POLLOUT, 0};
    }
    struct timespec wait = {1, 0};
    if (next >= 0) {
      int64_t left = next - now_ns();
      wait = (struct timespec){0, left > 0 ? left : 0};
    }
    if (ppoll(polls, count, &wait, NULL) <= 0) continue;
    int known = direction_count;
    if (polls[0].revents) take_connection(listener, there);
    for (int i = 0; i < known; i++)
      if (polls[1 + 2 * i].revents) take_bytes(&directions[i], late_ns);
  }
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: delay HOST PORT SECONDS\n");
    return 2;
  }
  struct sockaddr_in there = {.sin_family = AF_INET};
  there.sin_port = htons((uint16_t)atoi(argv[2]));
  if (inet_pton(AF_INET, argv[1], &there.sin_addr) != 1) fail(argv[1]);
  struct sigaction action = {.sa_handler = on_term};
  sigaction(SIGTERM, &action, NULL);
  prctl(PR_SET_TIMERSLACK, 1UL);
  prctl(PR_SET_PDEATHSIG, SIGTERM);

  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in here = {.sin_family = AF_INET};
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof here;
  if (listener < 0 || bind(listener, (struct sockaddr *)&here, size) < 0 ||
      listen(listener, CONNECTIONS) < 0 ||
      getsockname(listener, (struct sockaddr *)&here, &size) < 0)
    fail("listen");
  fprintf(stderr, "listening on 127.0.0.1:%d\n", ntohs(here.sin_port));
  pass_on(listener, &there, (int64_t)(atof(argv[3]) * 1e9));
  return 0;
}
