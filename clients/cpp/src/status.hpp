// What went wrong, and what to do about it. Nothing here throws.

#pragma once

#include "constants.hpp"

namespace rlay {

/// What went wrong. Numbers below 0x8000 travel (docs/spec/errors.md); those above are
/// this library's own.
enum class Code : uint32_t {
  ok = 0,
  environment = 1,
  space_mismatch = 2,
  unsendable_info = 3,
  not_allowed = 4,
  unsupported = 5,
  protocol = 6,
  version = 7,
  busy = 8,
  no_space = 9,
  too_large = 10,
  draining = 11,
  reset_needed = 12,
  num_envs = 13,
  environment_gone = 14,
  auth = 15,
  not_found = 16,
  slow_peer = 17,
  superseded = 18,
  corrupt = 19,

  timeout = 0x8001,           // the time that the caller allowed is over
  peer_closed = 0x8002,       // the other end said goodbye
  peer_lost = 0x8003,         // it is gone without a word
  link_down = 0x8004,         // the link to it was down for too long
  stopped = 0x8005,           // the caller's own stop flag is up
  misuse = 0x8006,            // a call that is not allowed now; nothing was sent
  permission = 0x8007,        // files or directories are not this user's alone
  system = 0x8008,            // the operating system refused something
};

/// The outcome of an operation: a code, and a text with the facts and the remedy.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  /// An error with the reason that the other end gave.
  Status(Code code, std::string message, Reason reason)
      : code_(code), reason_(reason), message_(std::move(message)) {}

  /// An error of the environment; `type` stands for an exception's class, for people.
  static Status environment(std::string message, std::string type = "Error") {
    Status status(Code::environment, std::move(message));
    status.type_ = std::move(type);
    return status;
  }

  bool ok() const { return code_ == Code::ok; }
  explicit operator bool() const { return ok(); }
  Code code() const { return code_; }
  Reason reason() const { return reason_; }
  const std::string& message() const { return message_; }
  /// The class of a remote exception, and its traceback; empty elsewhere.
  const std::string& type() const { return type_; }
  const std::string& traceback() const { return traceback_; }

  Status with_remote(std::string type, std::string traceback) && {
    type_ = std::move(type);
    traceback_ = std::move(traceback);
    return std::move(*this);
  }

 private:
  Code code_ = Code::ok;
  Reason reason_ = Reason::none;
  std::string message_;
  std::string type_;
  std::string traceback_;
};

/// A value, or why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                 // NOLINT: meant to convert
  Result(Status status) : status_(std::move(status)) {}         // NOLINT: meant to convert

  bool ok() const { return status_.ok(); }
  explicit operator bool() const { return ok(); }
  const Status& status() const { return status_; }
  /// The value; of no meaning where `ok()` is false.
  T& value() { return value_; }
  const T& value() const { return value_; }

 private:
  Status status_;
  T value_{};
};

namespace detail {

/// `text` cut to `limit` bytes, between two characters of UTF-8.
inline std::string shortened(std::string text, size_t limit) {
  if (text.size() <= limit) return text;
  size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  text.resize(end);
  return text;
}

inline std::string system_text(int error) {
  const std::string text = std::strerror(error);
  return text + " (errno " + std::to_string(error) + ")";
}

inline Status protocol_error(std::string message) {
  return Status(Code::protocol, std::move(message));
}

inline std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

}  // namespace detail

}  // namespace rlay
