// Descriptors that a forked child must not keep.

#pragma once

#include "clock.hpp"

#if RLAY_MAPPED_FILES

namespace rlay::detail {

/// A lock lives as long as one descriptor of its open file does, in any process: a child
/// that keeps one would make a dead parent look alive. So a child closes them all.
class ForkGuard {
 public:
  static void add(int fd) {
    static const int installed = pthread_atfork(nullptr, nullptr, &ForkGuard::in_child);
    (void)installed;
    for (std::atomic<int>& place : descriptors()) {
      int none = 0;
      if (place.compare_exchange_strong(none, fd + 1)) return;
    }
  }
  static void remove(int fd) {
    for (std::atomic<int>& place : descriptors()) {
      int same = fd + 1;
      if (place.compare_exchange_strong(same, 0)) return;
    }
  }
  /// How many forks lie between this process and the one that began.
  static uint32_t generation() { return generation_word().load(std::memory_order_relaxed); }

 private:
  using Table = std::atomic<int>[512];
  static Table& descriptors() {
    static Table table;  // of zeros: it has static storage
    return table;
  }
  static std::atomic<uint32_t>& generation_word() {
    static std::atomic<uint32_t> word{0};
    return word;
  }
  static void in_child() {
    generation_word().fetch_add(1, std::memory_order_relaxed);
    for (std::atomic<int>& place : descriptors()) {
      const int fd = place.exchange(0) - 1;
      if (fd >= 0) ::close(fd);
    }
  }
};

/// A descriptor that is closed with its owner, and in forked children.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd), generation_(ForkGuard::generation()) {
    if (fd_ >= 0) ForkGuard::add(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_), generation_(other.generation_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      close();
      fd_ = other.fd_;
      generation_ = other.generation_;
      other.fd_ = -1;
    }
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }

  int fd() const { return fd_; }
  /// False in a forked child: there it is closed.
  bool is_open() const { return fd_ >= 0 && generation_ == ForkGuard::generation(); }
  void close() {
    const int fd = fd_;
    fd_ = -1;
    // In a child the number is closed already, and may be another file's by now.
    if (fd < 0 || generation_ != ForkGuard::generation()) return;
    ForkGuard::remove(fd);
    ::close(fd);
  }

 private:
  int fd_ = -1;
  uint32_t generation_ = 0;
};

}  // namespace rlay::detail

#endif  // RLAY_MAPPED_FILES

namespace rlay::detail {

/// How many forks lie between this process and the one that began; 0 where there are none.
inline uint32_t fork_generation() {
#if RLAY_MAPPED_FILES
  return ForkGuard::generation();
#else
  return 0;
#endif
}

inline Status forked_error() {
  return Status(Code::misuse,
                "this end of a channel belongs to the parent process: make one of its own in the child");
}

}  // namespace rlay::detail
