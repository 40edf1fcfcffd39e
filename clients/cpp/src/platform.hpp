// What the system and the compiler must offer.

#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <winsock2.h>
#include <ws2tcpip.h>
#define RLAY_MAPPED_FILES 0
#else
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#define RLAY_MAPPED_FILES 1
#endif

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#define RLAY_FUTEX 1
#else
#define RLAY_FUTEX 0
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "RLay's memory is little-endian; a big-endian client would have to swap everything"
#endif
#if __cplusplus < 201703L && !(defined(_MSVC_LANG) && _MSVC_LANG >= 201703L)
#error "rlay.hpp needs C++17"
#endif

namespace rlay {

static_assert(sizeof(std::atomic<uint32_t>) == 4, "mapped words are plain 32-bit words");
static_assert(std::atomic<uint32_t>::is_always_lock_free, "mapped words need no lock");
static_assert(std::numeric_limits<double>::is_iec559, "floats are IEEE 754");

}  // namespace rlay
