// Slots: one direction of a session, a message or a part at a time.

#pragma once

#include "files.hpp"
#include "greeting.hpp"

namespace rlay::detail {

/// A 32-bit word of memory that two processes share.
inline std::atomic<uint32_t>& word_at(uint8_t* memory, size_t offset) {
  return *reinterpret_cast<std::atomic<uint32_t>*>(memory + offset);
}

/// The memory of one slot.
struct Slot {
  uint8_t* base = nullptr;
  size_t capacity = 0;

  static constexpr size_t published_offset = 0;
  static constexpr size_t taken_bell_offset = 4;
  static constexpr size_t taken_offset = 128;
  static constexpr size_t published_bell_offset = 132;

  static size_t bytes(size_t capacity) {
    return slot_control_bytes + 2 * (message_header_bytes + capacity);
  }
  std::atomic<uint32_t>& published() const { return word_at(base, published_offset); }
  std::atomic<uint32_t>& taken_bell() const { return word_at(base, taken_bell_offset); }
  std::atomic<uint32_t>& taken() const { return word_at(base, taken_offset); }
  std::atomic<uint32_t>& published_bell() const { return word_at(base, published_bell_offset); }
  uint8_t* buffer(uint32_t index) const {
    return base + slot_control_bytes + index * (message_header_bytes + capacity);
  }
  uint8_t* payload(uint32_t index) const { return buffer(index) + message_header_bytes; }
  bool pending() const {
    return published().load(std::memory_order_acquire) != taken().load(std::memory_order_relaxed);
  }
};

/// What stands behind two slots: mapped memory and bells, or a socket.
class Carrier {
 public:
  enum class Word : uint8_t { published, taken };

  virtual ~Carrier() = default;
  /// A message or part was published in the outgoing slot.
  virtual void published(const Slot& slot) = 0;
  /// A part, or a greeting, was taken from the incoming slot: its writer may wait for that.
  virtual void taken(const Slot& slot) = 0;
  /// Waits until a word is no longer `seen`; an error where waiting is of no use.
  virtual Status wait(const Slot& slot, Word word, uint32_t seen, Deadline& deadline) = 0;
  /// Whether the other end is there; an error where it is not.
  virtual Status check() = 0;
  /// Makes what has come visible, without waiting.
  virtual void look() {}
};

/// A session over two slots, or a greeting over the two greeting slots.
class SlotSession {
 public:
  void begin(Slot outgoing, Slot incoming, Carrier* carrier, uint64_t limit_bytes) {
    outgoing_ = outgoing;
    incoming_ = incoming;
    carrier_ = carrier;
    limit_bytes_ = limit_bytes;
    count_ = outgoing_.published().load(std::memory_order_relaxed) & ~1U;
    parts_ = 0;
    forks_ = fork_generation();
  }
  /// Sets the ids that every message carries from now on.
  void stamp(uint64_t incarnation, uint64_t session) {
    incarnation_ = incarnation;
    session_ = session;
    for (uint32_t index = 0; index < 2; ++index) {
      MessageHeader header;
      header.incarnation = incarnation;
      header.session = session;
      std::memcpy(outgoing_.buffer(index), &header, sizeof header);
    }
  }
  void check_ids(bool check) { check_ids_ = check; }
  uint64_t limit_bytes() const { return limit_bytes_; }
  void set_limit(uint64_t limit_bytes) { limit_bytes_ = limit_bytes; }
  uint64_t incarnation() const { return incarnation_; }
  uint64_t session() const { return session_; }

  void draft(Draft& draft, MessageKind kind, uint32_t sequence) const {
    draft.begin(kind, outgoing_.payload(sequence & 1), outgoing_.capacity);
  }

  /// Whether the other end took what was published last.
  bool was_taken() const {
    return outgoing_.taken().load(std::memory_order_acquire) ==
           outgoing_.published().load(std::memory_order_relaxed);
  }

  /// Publishes a draft; a large one goes in parts, each of which is awaited.
  Status send(uint32_t sequence, const Draft& draft, Deadline& deadline) {
    // A process that the environment forked must not answer in its parent's place.
    if (fork_generation() != forks_) return forked_error();
    if (draft.overflow.empty()) {
      put_header(sequence, draft, 0, 1, draft.size, 0);
      publish(sequence);
      return Status();
    }
    if (draft.overflow.size() > limit_bytes_) return too_large(draft.overflow.size());
    const size_t total = draft.overflow.size();
    const auto parts = static_cast<uint32_t>((total + outgoing_.capacity - 1) / outgoing_.capacity);
    for (uint32_t part = 0; part < parts; ++part) {
      if (part > 0) {
        if (Status status = wait_until_taken(deadline); !status) return status;
      }
      send_part(sequence, draft, part, parts);
    }
    // The next message follows only when the last part was taken.
    if (Status status = wait_until_taken(deadline); !status) return status;
    restore_header(sequence);
    return Status();
  }

  /// Sends as much of a long draft as the reader has taken the parts before of, without
  /// waiting. `next`: the next part, 0 at first. True where all of it was published.
  bool send_some(uint32_t sequence, const Draft& draft, uint32_t& next) {
    if (draft.overflow.empty()) {
      if (next == 0) {
        put_header(sequence, draft, 0, 1, draft.size, 0);
        publish(sequence);
        next = 1;
      }
      return true;
    }
    const auto parts = static_cast<uint32_t>((draft.overflow.size() + outgoing_.capacity - 1) / outgoing_.capacity);
    while (next < parts && was_taken()) send_part(sequence, draft, next++, parts);
    return next == parts;
  }

  Status too_large(uint64_t bytes) const {
    return Status(Code::too_large, "a message of " + std::to_string(bytes) + " bytes exceeds the limit of " +
                                       std::to_string(limit_bytes_) +
                                       ": raise max_message_bytes at both ends, or send less");
  }

  /// Publishes the last message of a sequence again: it still lies in its buffer.
  void repeat(uint32_t sequence) { publish(sequence); }

  /// Waits for the next whole message. It stays valid until the next but one; `take` must
  /// be called before another is received.
  Status receive(Message& message, Deadline& deadline) {
    while (true) {
      const uint32_t seen = incoming_.taken().load(std::memory_order_relaxed);
      if (!incoming_.pending()) {
        if (Status status = carrier_->wait(incoming_, Carrier::Word::published, seen, deadline); !status) {
          return status;
        }
      }
      bool whole = false;
      if (Status status = accept(message, whole); !status) return status;
      if (whole) return Status();
    }
  }

  /// Whether a whole message is there, without waiting.
  Status receive_nowait(Message& message, bool& there) {
    there = false;
    carrier_->look();
    while (!there && incoming_.pending()) {
      if (Status status = accept(message, there); !status) return status;
    }
    return Status();
  }

  /// Says that the message was read, or copied as far as it is needed.
  void take() {
    incoming_.taken().store(incoming_.published().load(std::memory_order_relaxed),
                            std::memory_order_release);
  }
  void take_and_ring() {
    take();
    carrier_->taken(incoming_);
  }
  bool pending() const { return incoming_.pending(); }
  const Slot& outgoing() const { return outgoing_; }
  const Slot& incoming() const { return incoming_; }

  Status wait_until_taken(Deadline& deadline) {
    while (!was_taken()) {
      const uint32_t seen = outgoing_.taken().load(std::memory_order_acquire);
      if (was_taken()) break;
      if (Status status = carrier_->wait(outgoing_, Carrier::Word::taken, seen, deadline); !status) {
        return status;
      }
    }
    return Status();
  }

 private:
  void put_header(uint32_t sequence, const Draft& draft, uint32_t part, uint32_t parts, size_t bytes,
                  size_t total) {
    MessageHeader header;
    header.kind = draft.word;
    header.sequence = sequence;
    header.incarnation = incarnation_;
    header.session = session_;
    header.payload_bytes = static_cast<uint32_t>(bytes);
    header.part = part;
    header.parts = parts;
    header.reward_type = draft.reward_type;
    std::memcpy(header.reward, draft.reward, sizeof header.reward);
    header.total_bytes = total;
    std::memcpy(outgoing_.buffer(sequence & 1), &header, sizeof header);
  }
  void restore_header(uint32_t sequence) {
    MessageHeader header;
    uint8_t* buffer = outgoing_.buffer(sequence & 1);
    std::memcpy(&header, buffer, sizeof header);
    header.part = 0;
    header.parts = 1;
    header.payload_bytes = 0;
    header.total_bytes = 0;
    std::memcpy(buffer, &header, sizeof header);
  }
  void send_part(uint32_t sequence, const Draft& draft, uint32_t part, uint32_t parts) {
    const size_t start = static_cast<size_t>(part) * outgoing_.capacity;
    const size_t size = std::min(outgoing_.capacity, draft.overflow.size() - start);
    std::memcpy(outgoing_.payload(sequence & 1), draft.overflow.data() + start, size);
    put_header(sequence, draft, part, parts, size, draft.overflow.size());
    publish(sequence);
  }
  void publish(uint32_t sequence) {
    count_ += 2;
    // Sequentially consistent: the look at the bell must not overtake this store.
    outgoing_.published().store(count_ | (sequence & 1), std::memory_order_seq_cst);
    carrier_->published(outgoing_);
  }

  /// Takes in what is published: a whole message, or a part, which is taken here.
  Status accept(Message& message, bool& whole) {
    const uint32_t word = incoming_.published().load(std::memory_order_acquire);
    const uint8_t* buffer = incoming_.buffer(word & 1);
    MessageHeader header;
    std::memcpy(&header, buffer, sizeof header);
    if (check_ids_ && (header.incarnation != incarnation_ || header.session != session_)) {
      return protocol_error("a message of another session came");
    }
    if (header.payload_bytes > incoming_.capacity) {
      return protocol_error("a message claims " + std::to_string(header.payload_bytes) +
                            " bytes in a slot of " + std::to_string(incoming_.capacity));
    }
    const uint8_t* payload = buffer + message_header_bytes;
    if (header.parts == 1 && header.part == 0) {
      parts_ = 0;
      message.header = header;
      message.payload = payload;
      message.size = header.payload_bytes;
      whole = true;
      return Status();
    }
    if (Status status = add_part(header, payload); !status) return status;
    whole = next_part_ == parts_;
    if (whole) {
      message.header = first_;
      message.payload = assembled_.data();
      message.size = assembled_.size();
      parts_ = 0;
    }
    take_and_ring();
    return Status();
  }
  Status add_part(const MessageHeader& header, const uint8_t* payload) {
    if (header.part == 0) {
      if (header.total_bytes > limit_bytes_) return too_large(header.total_bytes);
      if (header.parts < 2 || header.total_bytes <= incoming_.capacity) {
        return protocol_error("a message in parts is malformed");
      }
      first_ = header;
      parts_ = header.parts;
      next_part_ = 0;
      assembled_.clear();
    } else if (parts_ == 0 || header.part != next_part_ || header.parts != parts_ ||
               header.total_bytes != first_.total_bytes || header.sequence != first_.sequence ||
               header.kind != first_.kind || header.incarnation != first_.incarnation ||
               header.session != first_.session) {
      return protocol_error("parts of a message do not belong together");
    }
    const uint64_t sum = assembled_.size() + header.payload_bytes;
    const bool last = header.part + 1 == header.parts;
    if (header.payload_bytes == 0 || sum > first_.total_bytes || (last && sum != first_.total_bytes)) {
      return protocol_error("the parts of a message do not add up");
    }
    assembled_.insert(assembled_.end(), payload, payload + header.payload_bytes);
    ++next_part_;
    return Status();
  }

  Slot outgoing_;
  Slot incoming_;
  Carrier* carrier_ = nullptr;
  uint64_t limit_bytes_ = default_max_message_bytes;
  uint64_t incarnation_ = 0;
  uint64_t session_ = 0;
  bool check_ids_ = false;
  uint32_t count_ = 0;
  uint32_t forks_ = 0;

  MessageHeader first_;
  uint32_t parts_ = 0;  // of the message that comes in parts, 0 where none does
  uint32_t next_part_ = 0;
  Bytes assembled_;
};

}  // namespace rlay::detail
