// At most once, and the reply that belongs to the request: the tables of session.md.

#pragma once

#include "platform.hpp"

namespace rlay::detail {

/// Where each session's sequences begin. Tests of the wrap-around begin late; anybody else
/// must leave it at 1.
inline uint32_t first_sequence = 1;

inline uint32_t next_sequence(uint32_t sequence) { return sequence + 1 ? sequence + 1 : 1; }

enum class Order : uint8_t { older, same, next, gap };

/// How a message's sequence stands to the last one; 0 is no sequence.
inline Order order_of(uint32_t last, uint32_t sequence) {
  if (sequence == 0) return Order::gap;
  if (sequence == last) return Order::same;
  if (sequence == next_sequence(last)) return Order::next;
  return (sequence - last) & 0x80000000U ? Order::older : Order::gap;
}

/// The asking end's half of delivery.
class Requester {
 public:
  enum class State : uint8_t { idle, waiting, late, over };
  enum class Outcome : uint8_t { accept, discard, drop, breach };

  State state() const { return state_; }
  uint32_t sequence() const { return sequence_; }

  /// Starts the next request; only where the state is idle.
  uint32_t begin() {
    state_ = State::waiting;
    return sequence_ = next_sequence(sequence_);
  }
  /// Undoes `begin`: nothing was published.
  void cancel() {
    if (state_ != State::waiting) return;
    state_ = State::idle;
    --sequence_;  // 0 stands before 1, also after a wrap
  }
  Outcome receive(uint32_t sequence) {
    const Order order = order_of(sequence_, sequence);
    if (state_ != State::over) {
      if (order == Order::same && state_ != State::idle) {
        const bool accepted = state_ == State::waiting;
        state_ = State::idle;
        return accepted ? Outcome::accept : Outcome::discard;
      }
      if (order == Order::older || (order == Order::same && sequence_)) return Outcome::drop;
    }
    state_ = State::over;
    return Outcome::breach;
  }
  /// Stops waiting; the reply will be discarded.
  void abandon() {
    if (state_ == State::waiting) state_ = State::late;
  }
  void lose() { state_ = State::over; }

 private:
  State state_ = State::idle;
  uint32_t sequence_ = first_sequence - 1;
};

/// The answering end's half of delivery.
class Responder {
 public:
  enum class State : uint8_t { ready, running, over };
  enum class Outcome : uint8_t { run, repeat, drop, breach };

  State state() const { return state_; }
  uint32_t sequence() const { return sequence_; }

  Outcome receive(uint32_t sequence) {
    const Order order = order_of(sequence_, sequence);
    if (state_ == State::ready && order == Order::next) {
      state_ = State::running;
      sequence_ = sequence;
      return Outcome::run;
    }
    if (state_ != State::over) {
      if (order == Order::older) return Outcome::drop;
      if (order == Order::same && sequence_) {
        return state_ == State::ready ? Outcome::repeat : Outcome::drop;
      }
    }
    state_ = State::over;
    return Outcome::breach;
  }
  void answer() { state_ = State::ready; }
  void lose() { state_ = State::over; }

 private:
  State state_ = State::ready;
  uint32_t sequence_ = first_sequence - 1;
};

}  // namespace rlay::detail
