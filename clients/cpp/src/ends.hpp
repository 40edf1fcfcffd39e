// The two ends of a channel, whatever stands behind them.

#pragma once

#include "slots.hpp"

namespace rlay::detail {

/// What this client can do, whatever the system.
inline constexpr uint32_t software_capabilities() {
  return capability_records | (RLAY_MAPPED_FILES ? capability_fifo : 0) | (RLAY_FUTEX ? capability_futex : 0);
}

/// The end that answers: it takes one client after the other.
class ServerEnd {
 public:
  virtual ~ServerEnd() = default;
  /// Waits for a client's HELLO. An error of code protocol or version: a client spoke, but
  /// not soundly; it is to be refused with that.
  virtual Status receive_hello(Hello& hello, Message& message, Deadline& deadline) = 0;
  /// Tells a client that it is not taken.
  virtual Status refuse(const Message& hello, const Status& why, const StopFlag* stop) = 0;
  /// Makes the slots of a session and tells the client.
  virtual Status accept(const Message& hello, Welcome welcome, uint64_t incarnation, uint64_t session,
                        uint32_t request_capacity, uint32_t reply_capacity, const StopFlag* stop) = 0;
  virtual SlotSession& session() = 0;
  virtual uint32_t peer_capabilities() const = 0;
  /// Says goodbye and lets go. Twice is harmless.
  virtual void close(Reason reason) = 0;
};

/// The end that asks.
class ClientEnd {
 public:
  virtual ~ClientEnd() = default;
  /// Begins to say HELLO; `continue_hello` says it, without waiting.
  virtual void begin_hello(const Bytes& payload, uint64_t incarnation, uint64_t session) = 0;
  virtual Status continue_hello() = 0;
  /// Whether an answer is there; a refusal is its error. The ids that this end drew are
  /// given, the others are filled in.
  virtual Status look_for_welcome(Welcome& welcome, uint64_t& incarnation, uint64_t& session,
                                  bool& there) = 0;
  /// Waits a while for the answer to come.
  virtual void rest(int64_t duration_ns) = 0;
  /// Takes over the slots that a WELCOME speaks of; each must hold its fixed area.
  virtual Status attach(const Welcome& welcome, uint64_t incarnation, uint64_t session,
                        size_t request_area, size_t reply_area) = 0;
  virtual SlotSession& session() = 0;
  virtual uint32_t peer_capabilities() const = 0;
  /// Whether the server is there; an error where it is not.
  virtual Status check() = 0;
  virtual const std::string& name() const = 0;
  /// Says goodbye and lets go. Twice is harmless.
  virtual void close(Reason reason) = 0;
};

}  // namespace rlay::detail
