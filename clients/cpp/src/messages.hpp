// The header of a message, its tail, and what both directions have in common.

#pragma once

#include "layout.hpp"

namespace rlay::detail {

// The header of a message: its fields, as they lie in memory.
struct MessageHeader {
  uint32_t kind = 0;  // and flags
  uint32_t sequence = 0;
  uint64_t incarnation = 0;
  uint64_t session = 0;
  uint32_t payload_bytes = 0;
  uint32_t part = 0;
  uint32_t parts = 1;
  uint32_t reward_type = 0;
  uint8_t reward[8] = {};
  uint64_t total_bytes = 0;
  uint64_t reserved = 0;
};
static_assert(sizeof(MessageHeader) == message_header_bytes, "the header has no gaps");
static_assert(offsetof(MessageHeader, payload_bytes) == 24 && offsetof(MessageHeader, reward) == 40,
              "as docs/spec/messages.md has it");

/// A message that came: whole, its header checked against its payload.
struct Message {
  MessageHeader header;
  const uint8_t* payload = nullptr;
  size_t size = 0;

  uint32_t word() const { return header.kind; }
  MessageKind kind() const { return static_cast<MessageKind>(header.kind & kind_mask); }
  bool has(uint32_t flag) const { return (header.kind & flag) != 0; }
};

/// A message that goes out: its head, and where its payload is.
///
/// The payload is written straight into the slot where it fits, and into `overflow` where
/// it must go in parts.
struct Draft {
  uint8_t* room = nullptr;
  size_t capacity = 0;

  uint32_t word = 0;
  uint32_t reward_type = 0;
  uint8_t reward[8] = {};
  size_t size = 0;
  Bytes overflow;  // not empty: the whole payload, larger than the slot
  Bytes tail;      // kept between messages, for its memory

  void begin(MessageKind kind, uint8_t* where, size_t bytes) {
    room = where;
    capacity = bytes;
    word = static_cast<uint32_t>(kind);
    reward_type = 0;
    std::memset(reward, 0, sizeof reward);
    size = 0;
    overflow.clear();
    tail.clear();
  }
  /// Puts the tail behind what is there already.
  void append(const Bytes& behind) {
    const size_t total = size + behind.size();
    if (total <= capacity) {
      if (!behind.empty()) std::memcpy(room + size, behind.data(), behind.size());
    } else {
      overflow.reserve(total);
      overflow.assign(room, room + size);
      overflow.insert(overflow.end(), behind.begin(), behind.end());
    }
    size = total;
  }
};

/// What both ends of a session agreed upon.
struct Agreement {
  Space observation_space;
  Space action_space;
  Batch batch;
  Layout reports;
  Layout decisions;

  static Result<Agreement> compile(const Space& observation, const Space& action, Batch batch) {
    auto reports = compile_layout(observation, batch, true);
    if (!reports) return reports.status();
    auto decisions = compile_layout(action, batch, false);
    if (!decisions) return decisions.status();
    Agreement agreement;
    agreement.observation_space = observation;
    agreement.action_space = action;
    agreement.batch = batch;
    agreement.reports = std::move(reports.value());
    agreement.decisions = std::move(decisions.value());
    return agreement;
  }
  /// Room that a slot should have for messages of a fixed area.
  static uint32_t capacity(const Layout& layout) {
    const uint64_t wanted = aligned(layout.bytes + tail_room_bytes, payload_alignment);
    return static_cast<uint32_t>(std::min(wanted, max_slot_payload_bytes));
  }
};

/// Reads the tail of a message, as its kind demands it.
inline Status read_tail(const Message& message, size_t fixed_bytes, MessageKind kind, size_t items,
                        Value& tail) {
  if (message.kind() != kind) return protocol_error("a message of an unexpected kind came");
  if (!message.has(flag_tail)) return protocol_error("a message has no tail");
  const size_t start = message.has(flag_fixed) ? fixed_bytes : 0;
  if (message.size < start) return protocol_error("a message is shorter than its fixed area");
  ValueDecoder decoder(message.payload + start, message.size - start, kind == MessageKind::reset);
  if (Status status = decoder.whole(tail); !status) return status;
  if (tail.kind() != Value::Kind::list || tail.size() < items) {
    return protocol_error("the tail of a message is malformed");
  }
  return Status();
}

/// The value of an item in an array of one; false where it is no such array.
inline bool unboxed(Value& item, Value& value) {
  if (item.kind() != Value::Kind::list || item.size() != 1) return false;
  Value inner = std::move(item[0]);
  value = std::move(inner);
  return true;
}

inline Value boxed(const Value& value) { return Value::list({value}); }

/// The element of a message with a fixed area, without or with a tail of variable parts.
inline Status load_element(const Message& message, const Layout& layout, const Space& space,
                           Value* variable, Value& element) {
  if (message.size < layout.bytes) {
    return protocol_error("a message is shorter than its fixed area");
  }
  if (!message.has(flag_tail | flag_record) && message.size != layout.bytes) {
    return protocol_error("a message of " + std::to_string(message.size) +
                          " bytes in place of a fixed area of " + std::to_string(layout.bytes));
  }
  Value none = Value::list();
  if (variable && variable->is_nil()) variable = &none;
  if (variable && variable->kind() != Value::Kind::list) {
    return protocol_error("the variable parts of a message are malformed");
  }
  AreaReader reader(layout, message.payload, variable);
  return reader.load(space, element);
}

/// One of the arrays behind a batch.
inline Status load_extra(const Message& message, const Layout& layout, size_t index, Value& value) {
  AreaReader reader(layout, message.payload, nullptr);
  if (reader.load_array(layout.leaves[layout.own_leaves + index], value)) return Status();
  return protocol_error(reader.problem());
}

}  // namespace rlay::detail
