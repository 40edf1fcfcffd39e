// Time, and how long somebody is ready to wait.

#pragma once

#include "status.hpp"

namespace rlay {

/// Seconds to wait; negative: without a limit, which must be asked for.
inline constexpr double forever = -1.0;

/// A flag that ends a wait of another thread, or from a signal handler, within 0.1 s.
using StopFlag = std::atomic<bool>;

namespace detail {

inline int64_t now_ns() {
#if defined(_WIN32)
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
#else
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000000000 + now.tv_nsec;
#endif
}

inline constexpr int64_t ns_per_s = 1000000000;
// Longest sleep between two looks: a dead peer is seen within twice this time.
inline constexpr int64_t slice_ns = 50000000;

inline void sleep_ns(int64_t duration_ns) {
  if (duration_ns <= 0) return;
#if defined(_WIN32)
  Sleep(static_cast<DWORD>((duration_ns + 999999) / 1000000));
#else
  timespec span{static_cast<time_t>(duration_ns / ns_per_s), static_cast<long>(duration_ns % ns_per_s)};
  nanosleep(&span, nullptr);
#endif
}

/// How long a wait may last.
class Deadline {
 public:
  /// `seconds` from now; 0 looks once, a negative number waits for ever.
  explicit Deadline(double seconds, const StopFlag* stop = nullptr) : stop_(stop) {
    if (seconds < 0 || !(seconds < 1e9)) return;
    limited_ = true;
    until_ns_ = now_ns() + static_cast<int64_t>(seconds * 1e9);
  }
  bool stopped() const { return stop_ && stop_->load(std::memory_order_relaxed); }
  /// Nanoseconds that are left, at most `most`; 0 where time is up.
  int64_t left_ns(int64_t most = slice_ns) const {
    if (!limited_) return most;
    return std::max<int64_t>(0, std::min(most, until_ns_ - now_ns()));
  }
  bool over() const { return limited_ && now_ns() >= until_ns_; }
  /// Gives back time that does not count.
  void extend(int64_t by_ns) { until_ns_ += by_ns; }
  const StopFlag* stop() const { return stop_; }

 private:
  bool limited_ = false;
  int64_t until_ns_ = 0;
  const StopFlag* stop_ = nullptr;
};

inline Status timed_out(std::string what) { return Status(Code::timeout, std::move(what)); }
inline Status was_stopped() { return Status(Code::stopped, "the stop flag is up"); }

/// A random 64-bit number that is not 0: an incarnation, or a session.
inline uint64_t draw_id() {
  std::random_device device;
  uint64_t id = 0;
  while (id == 0) id = static_cast<uint64_t>(device()) << 32 | device();
  return id;
}

}  // namespace detail

}  // namespace rlay
