// How an end waits: it looks for a while, then sleeps.

#pragma once

#include "slots.hpp"

#if RLAY_MAPPED_FILES

namespace rlay::detail {

// Figures and reasons: docs/decisions/0003 and 0009.
inline constexpr int64_t spin_ns_default = 50000;
inline constexpr int64_t spin_ns_bridged = 400000;
inline constexpr int64_t long_yield_ns = 500000;
inline constexpr int64_t long_bridged_yield_ns = 150000;

inline long cpu_count() {
  static const long count = ::sysconf(_SC_NPROCESSORS_ONLN);
  return count;
}

/// Microseconds of RLAY_SPIN_US in nanoseconds, else the given time; 0 with one CPU.
inline int64_t spin_budget_ns(int64_t otherwise) {
  if (const char* named = std::getenv("RLAY_SPIN_US"); named && *named) {
    char* end = nullptr;
    const double us = std::strtod(named, &end);
    if (end != named && *end == '\0' && us >= 0 && us < 1e9) return static_cast<int64_t>(us * 1000);
  }
  return cpu_count() > 1 ? otherwise : 0;
}

/// Looks at one word for as long as that pays.
class Look {
 public:
  void begin(bool bridged) {
    bridged_ = bridged;
    spin_ns_ = spin_budget_ns(bridged ? spin_ns_bridged : spin_ns_default);
  }
  /// Whether the word is no longer `seen`.
  bool operator()(const std::atomic<uint32_t>& word, uint32_t seen) {
    if (spin_ns_ == 0) return false;
    if (skips_ > 0) {
      --skips_;
      return false;
    }
    const int64_t until = now_ns() + spin_ns_;
    while (true) {
      for (int i = 0; i < 8; ++i) {
        if (word.load(std::memory_order_acquire) == seen) continue;
        failures_ = 0;
        penalty_ = first_penalty;
        return true;
      }
      const int64_t before = now_ns();
      if (before >= until) break;
      ::sched_yield();
      // So long a yield gave the core to a stranger for a whole time slice.
      if (now_ns() - before > (bridged_ ? long_bridged_yield_ns : long_yield_ns)) {
        go_without(last_penalty);
        return word.load(std::memory_order_acquire) != seen;
      }
    }
    if (bridged_ && ++failures_ >= vain_looks) go_without(last_vain_penalty);
    return false;
  }

 private:
  static constexpr int first_penalty = 16;
  static constexpr int last_penalty = 4096;
  static constexpr int last_vain_penalty = 64;
  static constexpr int vain_looks = 8;

  void go_without(int most) {
    skips_ = std::min(penalty_, most);
    penalty_ = std::min(2 * penalty_, most);
  }

  bool bridged_ = false;
  int64_t spin_ns_ = 0;
  int skips_ = 0;
  int failures_ = 0;
  int penalty_ = first_penalty;
};

#if RLAY_FUTEX
inline void futex_wait(std::atomic<uint32_t>& word, uint32_t seen, int64_t limit_ns) {
  timespec limit{static_cast<time_t>(limit_ns / ns_per_s), static_cast<long>(limit_ns % ns_per_s)};
  // Shared, not private: the two ends are two processes.
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &limit, nullptr, 0);
}
inline void futex_wake(std::atomic<uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}
#endif

/// Sleeps while a word is `seen`, or for less; `rung`: whether the other end rings futexes.
inline void sleep_on(std::atomic<uint32_t>& word, uint32_t seen, int64_t limit_ns, bool rung) {
#if RLAY_FUTEX
  if (rung) return futex_wait(word, seen, limit_ns);
#else
  (void)rung;
#endif
  int64_t pause = 50000;
  const int64_t until = now_ns() + limit_ns;
  while (word.load(std::memory_order_acquire) == seen && now_ns() < until) {
    sleep_ns(std::min(pause, limit_ns));
    pause = std::min<int64_t>(2 * pause, 1000000);
  }
}

}  // namespace rlay::detail

#endif  // RLAY_MAPPED_FILES
