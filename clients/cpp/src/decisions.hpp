// What the algorithm's end says: reset, step, call, close.

#pragma once

#include "reports.hpp"

namespace rlay {

/// How an episode is to begin.
struct ResetRequest {
  Value seed;     // nil, an integer of any size, or in a batch a list of these
  Value options;  // nil or a map
  Value mask;     // nil, or in a batch an array of bool: which environments reset

  bool has_seed() const { return !seed.is_nil(); }
  /// The seed in 64 bits, for random number generators that take no more; where it is
  /// longer its 64-bit words are combined. `otherwise` where there is none.
  uint64_t seed_bits(uint64_t otherwise = 0) const {
    if (seed.kind() == Value::Kind::integer || seed.kind() == Value::Kind::natural) return seed.natural();
    if (seed.kind() != Value::Kind::big_integer) return otherwise;
    uint64_t bits = 0;
    for (size_t i = 0; i < seed.raw_bytes(); ++i) {
      bits ^= static_cast<uint64_t>(seed.raw()[i]) << (8 * (i % 8));
    }
    return bits;
  }
};

/// A call of an attribute or a method.
struct Call {
  enum class Operation : uint8_t { get = 0, call = 1, set = 2, render = 3 };

  Operation operation = Operation::get;
  std::string name;
  Value args = Value::list();
  Value kwargs = Value::map();
};

namespace detail {

/// Reads decisions of one session.
class DecisionReader {
 public:
  explicit DecisionReader(const Agreement& agreement) : agreement_(agreement) {}

  /// `mask`: nil, or an array of bool of those who reset instead.
  Status step(const Message& message, Value& action, Value& mask) const {
    const Layout& layout = agreement_.decisions;
    if (message.kind() != MessageKind::step) return protocol_error("no step came");
    mask.become_nil();
    if (message.has(flag_fixed)) {
      Value tail;
      if (layout.variable || message.has(flag_tail)) {
        if (Status status = read_tail(message, layout.bytes, MessageKind::step, 3, tail); !status) {
          return status;
        }
      }
      Value* variable = tail.is_nil() ? nullptr : &tail[0];
      if (Status status = load_element(message, layout, agreement_.action_space, variable, action);
          !status) {
        return status;
      }
      if (!agreement_.batch.vector) return Status();
      if (Status status = load_extra(message, layout, 0, mask); !status) return status;
    } else {
      Value tail;
      if (Status status = read_tail(message, 0, MessageKind::step, 3, tail); !status) return status;
      if (!unboxed(tail[1], action)) return protocol_error("a step has no action");
      if (tail[2].is_nil()) return Status();
      if (!unboxed(tail[2], mask) || !is_mask(mask)) return protocol_error("a reset mask is malformed");
    }
    for (size_t i = 0; i < mask.raw_bytes(); ++i) {
      if (mask.raw()[i]) return Status();
    }
    mask.become_nil();  // nobody resets
    return Status();
  }

  Status reset(const Message& message, ResetRequest& reset) const {
    Value tail;
    if (Status status = read_tail(message, 0, MessageKind::reset, 3, tail); !status) return status;
    reset.seed = std::move(tail[0]);
    reset.options = std::move(tail[1]);
    reset.mask = std::move(tail[2]);
    if (!reset.options.is_nil() && !reset.options.is_map()) {
      return protocol_error("the options of a reset are no map");
    }
    if (!is_seed(reset.seed) || (!reset.mask.is_nil() && !is_mask(reset.mask))) {
      return protocol_error("seed or mask of a reset is malformed");
    }
    return Status();
  }

  static Status call(const Message& message, Call& call) {
    Value tail;
    if (Status status = read_tail(message, 0, MessageKind::call, 4, tail); !status) return status;
    const int64_t operation = tail[0].kind() == Value::Kind::integer ? tail[0].integer() : -1;
    if (operation < 0 || operation > 3 || !tail[1].is_text() ||
        tail[2].kind() != Value::Kind::list || !tail[3].is_map()) {
      return protocol_error("a call is malformed");
    }
    call.operation = static_cast<Call::Operation>(operation);
    call.name = tail[1].text();
    call.args = std::move(tail[2]);
    call.kwargs = std::move(tail[3]);
    return Status();
  }

  /// A reason that is not known here is CLOSED.
  static Status close(const Message& message, Reason& reason) {
    Value tail;
    if (Status status = read_tail(message, 0, MessageKind::close, 1, tail); !status) return status;
    if (tail[0].kind() != Value::Kind::integer) return protocol_error("a reason is no integer");
    const int64_t number = tail[0].integer();
    reason = number >= 0 && number <= 7 ? static_cast<Reason>(number) : Reason::closed;
    return Status();
  }

 private:
  bool is_mask(const Value& mask) const {
    return mask.is_array() && mask.dtype() == DType::boolean &&
           mask.shape() == Shape{static_cast<int64_t>(agreement_.batch.num_envs)};
  }
  bool is_seed(const Value& seed) const {
    const auto is_one = [](const Value& value) {
      return value.is_nil() || value.kind() == Value::Kind::integer ||
             value.kind() == Value::Kind::natural || value.kind() == Value::Kind::big_integer;
    };
    if (is_one(seed)) return true;
    if (!agreement_.batch.vector || seed.kind() != Value::Kind::list) return false;
    return std::all_of(seed.items().begin(), seed.items().end(), is_one);
  }

  const Agreement& agreement_;
};

/// Writes decisions of one session.
class DecisionWriter {
 public:
  explicit DecisionWriter(const Agreement& agreement) : agreement_(agreement) {}

  Status reset(Draft& draft, const ResetRequest& reset) const {
    return tail(draft, Value::list({reset.seed, reset.options, reset.mask}), true);
  }

  Status step(Draft& draft, const Value& action, const Value& mask = Value()) const {
    const Layout& layout = agreement_.decisions;
    AreaWriter writer(layout, draft.room);
    if (!writer.store(agreement_.action_space, action)) {
      return tail(draft, Value::list({Value(), boxed(action), mask.is_nil() ? Value() : boxed(mask)}));
    }
    if (agreement_.batch.vector) {
      const Leaf& leaf = layout.leaves[layout.own_leaves];
      if (mask.is_nil()) {
        std::memset(draft.room + leaf.offset, 0, leaf.size);
      } else if (!writer.store_array(leaf, mask)) {
        return Status(Code::misuse, "a reset mask is an array of bool, one for each environment");
      }
    }
    draft.word |= flag_fixed;
    draft.size = layout.bytes;
    if (!layout.variable) return Status();
    Value variable = Value::list();
    for (const Value* part : writer.variable) variable.push_back(*part);
    return tail(draft, Value::list({std::move(variable), Value(), Value()}));
  }

  Status call(Draft& draft, const Call& call) const {
    return tail(draft, Value::list({static_cast<int>(call.operation), call.name, call.args, call.kwargs}));
  }

  Status close(Draft& draft, Reason reason) const {
    return tail(draft, Value::list({static_cast<int64_t>(reason)}));
  }

 private:
  static Status tail(Draft& draft, const Value& items, bool big_integers = false) {
    ValueEncoder encoder(draft.tail, big_integers);
    if (Status status = encoder.encode(items); !status) return status;
    draft.word |= flag_tail;
    draft.append(draft.tail);
    return Status();
  }

  const Agreement& agreement_;
};

}  // namespace detail

}  // namespace rlay
