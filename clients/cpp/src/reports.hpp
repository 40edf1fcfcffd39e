// What the environment's end says: first observations, transitions, results, failures.

#pragma once

#include "records.hpp"

namespace rlay {

/// What an environment is after a reset.
struct First {
  Value observation;
  Value info = Value::map();
};

/// What one step led to. In a batch reward, terminated and truncated are arrays: float64,
/// bool and bool of shape (num_envs,).
struct Transition {
  Value observation;
  Value reward = 0.0;
  Value terminated = false;
  Value truncated = false;
  Value info = Value::map();
};

namespace detail {

/// Whether a value has the structure, dtypes and shapes of a space; bounds do not count.
inline bool has_form(const Space& space, const Value& value);

/// Whether an array has a space's dtype, and its shape behind one more size.
inline bool is_stack(const Space& space, const Value& value) {
  if (!value.is_array() || value.shape().size() != space.shape.size() + 1) return false;
  return value.dtype() == space.dtype &&
         std::equal(space.shape.begin(), space.shape.end(), value.shape().begin() + 1);
}

inline bool is_row(const Value& value) {
  return value.kind() == Value::Kind::tuple || value.kind() == Value::Kind::list;
}

inline bool has_form(const Space& space, const Value& value) {
  switch (space.kind) {
    case Space::Kind::box:
    case Space::Kind::multi_binary:
    case Space::Kind::multi_discrete:
      // A NumPy scalar is what some libraries make of an array of no dimensions.
      return (value.is_array() || value.kind() == Value::Kind::scalar) && value.dtype() == space.dtype &&
             value.shape() == space.shape;
    case Space::Kind::discrete:
      return is_discrete_code(record_code(value)) ||
             (value.is_array() && value.shape().empty() && is_discrete_code(static_cast<uint32_t>(value.dtype())));
    case Space::Kind::text: return value.is_text();
    case Space::Kind::dict:
      if (!value.is_map() || value.size() != space.spaces.size()) return false;
      for (size_t i = 0; i < space.spaces.size(); ++i) {
        const Value* item = value.find(space.keys[i]);
        if (!item || !has_form(space.spaces[i], *item)) return false;
      }
      return true;
    case Space::Kind::tuple:
      if (!is_row(value) || value.size() != space.spaces.size()) return false;
      for (size_t i = 0; i < space.spaces.size(); ++i) {
        if (!has_form(space.spaces[i], value[i])) return false;
      }
      return true;
    case Space::Kind::sequence:
      if (space.flag) return !space.spaces[0].is_leaf() || is_stack(space.spaces[0], value);
      if (!is_row(value)) return false;
      for (size_t i = 0; i < value.size(); ++i) {
        if (!has_form(space.spaces[0], value[i])) return false;
      }
      return true;
    case Space::Kind::graph: return value.kind() == Value::Kind::graph;
    case Space::Kind::one_of: {
      if (!is_row(value) || value.size() != 2) return false;
      const int64_t index = value[0].integer(-1);
      return index >= 0 && static_cast<size_t>(index) < space.spaces.size() &&
             has_form(space.spaces[static_cast<size_t>(index)], value[1]);
    }
    case Space::Kind::opaque: return true;
  }
  return false;
}

/// The first part of a space that travels whole and whose value has another form.
inline const Space* odd_part(const Space& space, const Value& value) {
  if (space.is_variable()) return has_form(space, value) ? nullptr : &space;
  for (size_t i = 0; i < space.spaces.size(); ++i) {
    const Value* item = space.kind == Space::Kind::dict ? value.find(space.keys[i]) : &value[i];
    if (const Space* odd = item ? odd_part(space.spaces[i], *item) : nullptr) return odd;
  }
  return nullptr;
}

/// Writes reports of one session.
class ReportWriter {
 public:
  /// `records`: whether the reader understands info records.
  ReportWriter(const Agreement& agreement, bool records, bool any_form = false)
      : agreement_(agreement), records_(records), any_form_(any_form) {}

  Status ready(Draft& draft) { return tail(draft, Value::list()); }

  Status reset_result(Draft& draft, const First& first) {
    Value variable, value;
    if (Status status = element(draft, first.observation, variable, value); !status) return status;
    return tail(draft, Value::list({std::move(variable), std::move(value), info_item(first.info)}));
  }

  Status transition(Draft& draft, const Transition& it) {
    return agreement_.batch.vector ? batch(draft, it) : single(draft, it);
  }

  Status call_result(Draft& draft, const Value& value) { return tail(draft, Value::list({value})); }

  /// What went wrong; texts are cut to their limits.
  Status failure(Draft& draft, const Status& what) {
    Value items = Value::list({static_cast<int64_t>(what.code()),
                               shortened(what.type(), max_remote_type_bytes),
                               shortened(what.message(), max_remote_message_bytes),
                               shortened(what.traceback(), max_remote_traceback_bytes)});
    for (size_t i = 1; i < 4; ++i) {
      if (!is_utf8(items[i].text())) items[i] = "(text that is no UTF-8)";
    }
    return tail(draft, items);
  }

 private:
  static bool is_plain(const Value& info) { return info.is_map() && info.size() == 0; }
  static Value info_item(const Value& info) { return is_plain(info) ? Value() : boxed(info); }
  static bool is_flag(const Value& flag) {
    return flag.kind() == Value::Kind::boolean ||
           (flag.kind() == Value::Kind::scalar && flag.dtype() == DType::boolean);
  }
  static uint32_t flag_bits(const Value& flag, uint32_t bit, uint32_t numpy_bit) {
    return (flag.boolean() ? bit : 0) | (flag.kind() == Value::Kind::scalar ? numpy_bit : 0);
  }

  /// Puts the observation into the area, or into `value` where any form is allowed.
  Status element(Draft& draft, const Value& observation, Value& variable, Value& value) {
    const Layout& layout = agreement_.reports;
    AreaWriter writer(layout, draft.room);
    if (!writer.store(agreement_.observation_space, observation)) {
      // What is near enough travels as it is; so does a batch, whose form is the
      // environment's own.
      if (any_form_ || agreement_.batch.vector || has_form(agreement_.observation_space, observation)) {
        value = boxed(observation);
        return Status();
      }
      return Status(Code::space_mismatch, "the observation is not in its space: " + writer.misfit +
                                              "; mend the environment or the space");
    }
    if (layout.variable) {
      if (!any_form_ && !agreement_.batch.vector &&
          odd_part(agreement_.observation_space, observation)) {
        return Status(Code::space_mismatch,
                      "a text, sequence, graph or one_of in the observation has not the form of its "
                      "space; mend the environment or the space");
      }
      variable = Value::list();
      for (const Value* part : writer.variable) variable.push_back(*part);
    }
    draft.word |= flag_fixed;
    draft.size = layout.bytes;
    return Status();
  }

  Status tail(Draft& draft, const Value& items) {
    ValueEncoder encoder(draft.tail);
    if (Status status = encoder.encode(items); !status) return status;
    draft.word |= flag_tail;
    draft.append(draft.tail);
    return Status();
  }

  Status single(Draft& draft, const Transition& it) {
    Value variable, value;
    if (Status status = element(draft, it.observation, variable, value); !status) return status;
    draft.reward_type = store_number(it.reward, draft.reward);
    if (draft.reward_type == 0) std::memset(draft.reward, 0, sizeof draft.reward);
    const bool flags = is_flag(it.terminated) && is_flag(it.truncated);
    if (flags) {
      draft.word |= flag_bits(it.terminated, flag_terminated, flag_numpy_terminated) |
                    flag_bits(it.truncated, flag_truncated, flag_numpy_truncated);
    }
    const bool steady = flags && draft.reward_type && draft.size == agreement_.reports.bytes &&
                        !agreement_.reports.variable && value.is_nil();
    if (steady && is_plain(it.info)) return Status();
    if (steady && records_ && it.info.is_map() && record_.pack(it.info, draft.tail)) {
      draft.word |= flag_record;
      draft.append(draft.tail);
      return Status();
    }
    return tail(draft, Value::list({std::move(variable), std::move(value), info_item(it.info),
                                    draft.reward_type ? Value() : boxed(it.reward),
                                    flags ? Value() : boxed(it.terminated),
                                    flags ? Value() : boxed(it.truncated)}));
  }

  Status batch(Draft& draft, const Transition& it) {
    const Layout& layout = agreement_.reports;
    Value variable, value;
    if (Status status = element(draft, it.observation, variable, value); !status) return status;
    const bool fixed = (draft.word & flag_fixed) != 0;
    const auto extra = [&](size_t index, const Value& array) {
      AreaWriter writer(layout, draft.room);
      return fixed && writer.store_array(layout.leaves[layout.own_leaves + index], array)
                 ? Value()
                 : boxed(array);
    };
    Value reward = extra(0, it.reward);
    Value terminated = extra(1, it.terminated);
    Value truncated = extra(2, it.truncated);
    if (fixed) {
      const Leaf& status = layout.leaves[layout.own_leaves + 3];
      std::memset(draft.room + status.offset, 0, status.size);
      if (is_plain(it.info) && !layout.variable && reward.is_nil() && terminated.is_nil() &&
          truncated.is_nil()) {
        return Status();
      }
    }
    return tail(draft, Value::list({std::move(variable), std::move(value), info_item(it.info),
                                    std::move(reward), std::move(terminated), std::move(truncated)}));
  }

  const Agreement& agreement_;
  bool records_;
  bool any_form_;
  RecordWriter record_;
};

/// Reads reports of one session.
class ReportReader {
 public:
  explicit ReportReader(const Agreement& agreement) : agreement_(agreement) {}

  Status reset_result(const Message& message, First& first) const {
    Value tail;
    if (Status status = read_tail(message, agreement_.reports.bytes, MessageKind::reset_result, 3, tail);
        !status) {
      return status;
    }
    return element(message, tail, first.observation, first.info);
  }

  Status transition(const Message& message, Transition& it) const {
    const bool vector = agreement_.batch.vector;
    const Layout& layout = agreement_.reports;
    if (message.kind() != MessageKind::transition) return protocol_error("no transition came");
    it.info = Value::map();
    if (!message.has(flag_tail)) {
      if (!message.has(flag_fixed) || layout.variable || (vector && message.has(flag_record))) {
        return protocol_error("a transition lacks its tail");
      }
      if (Status status = load_element(message, layout, agreement_.observation_space, nullptr,
                                       it.observation);
          !status) {
        return status;
      }
      if (message.has(flag_record)) {
        if (Status status = read_record(message.payload + layout.bytes, message.size - layout.bytes,
                                        it.info);
            !status) {
          return status;
        }
      }
      return numbers(message, nullptr, it);
    }
    if (message.has(flag_record)) return protocol_error("a transition has a tail and a record");
    Value tail;
    if (Status status = read_tail(message, layout.bytes, MessageKind::transition, 6, tail); !status) {
      return status;
    }
    if (Status status = element(message, tail, it.observation, it.info); !status) return status;
    return numbers(message, &tail, it);
  }

  static Status call_result(const Message& message, Value& value) {
    Value tail;
    if (Status status = read_tail(message, 0, MessageKind::call_result, 1, tail); !status) return status;
    value = std::move(tail[0]);
    return Status();
  }

  /// The failure that a message tells of: never an ok status.
  static Status failure(const Message& message) {
    Value tail;
    if (Status status = read_tail(message, 0, MessageKind::failure, 4, tail); !status) return status;
    const int64_t code = tail[0].kind() == Value::Kind::integer ? tail[0].integer() : 0;
    if (code <= 0 || code > UINT32_MAX || !tail[1].is_text() || !tail[2].is_text() ||
        !tail[3].is_text() || tail[1].text().size() > max_remote_type_bytes ||
        tail[2].text().size() > max_remote_message_bytes ||
        tail[3].text().size() > max_remote_traceback_bytes) {
      return protocol_error("a failure is malformed");
    }
    return Status(static_cast<Code>(code), tail[2].text()).with_remote(tail[1].text(), tail[3].text());
  }

 private:
  Status element(const Message& message, Value& tail, Value& observation, Value& info) const {
    if (message.has(flag_fixed)) {
      if (Status status = load_element(message, agreement_.reports, agreement_.observation_space,
                                       &tail[0], observation);
          !status) {
        return status;
      }
    } else if (!unboxed(tail[1], observation)) {
      return protocol_error("a report has no observation");
    }
    if (tail[2].is_nil()) {
      info = Value::map();
    } else if (!unboxed(tail[2], info)) {
      return protocol_error("the info of a report is malformed");
    }
    return Status();
  }

  Status numbers(const Message& message, Value* tail, Transition& it) const {
    const auto boxed_item = [&](size_t index, Value& value) {
      return tail && !(*tail)[index].is_nil() && unboxed((*tail)[index], value);
    };
    if (agreement_.batch.vector) {
      Value* targets[] = {&it.reward, &it.terminated, &it.truncated};
      for (size_t i = 0; i < 3; ++i) {
        if (boxed_item(3 + i, *targets[i])) continue;
        if (!message.has(flag_fixed)) return protocol_error("a batch lacks rewards or flags");
        if (Status status = load_extra(message, agreement_.reports, i, *targets[i]); !status) return status;
      }
      Value status_of_lanes;
      if (!message.has(flag_fixed)) return Status();
      if (Status status = load_extra(message, agreement_.reports, 3, status_of_lanes); !status) return status;
      for (size_t i = 0; i < status_of_lanes.raw_bytes(); ++i) {
        if (status_of_lanes.raw()[i]) return protocol_error("an environment of a batch has no status OK");
      }
      return Status();
    }
    const MessageHeader& header = message.header;
    if (header.reward_type ? !load_number(header.reward_type, header.reward, it.reward)
                           : !boxed_item(3, it.reward)) {
      return protocol_error("a transition has no reward");
    }
    const bool odd = tail && !(*tail)[4].is_nil();
    if (odd) {
      if (!boxed_item(4, it.terminated) || !boxed_item(5, it.truncated)) {
        return protocol_error("the flags of a transition are malformed");
      }
      return Status();
    }
    it.terminated = flag(message, flag_terminated, flag_numpy_terminated);
    it.truncated = flag(message, flag_truncated, flag_numpy_truncated);
    return Status();
  }
  static Value flag(const Message& message, uint32_t bit, uint32_t numpy_bit) {
    const bool set = message.has(bit);
    return message.has(numpy_bit) ? Value::scalar<bool>(set) : Value(set);
  }

  const Agreement& agreement_;
};

}  // namespace detail

}  // namespace rlay
