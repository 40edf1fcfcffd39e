// The fixed area: where each array and number of a message lies.

#pragma once

#include "space.hpp"

namespace rlay::detail {

inline uint64_t aligned(uint64_t offset, uint64_t step) { return (offset + step - 1) / step * step; }

inline constexpr size_t number_cell_bytes = 16;

struct Leaf {
  std::string path;
  DType dtype;  // none: a number cell
  Shape shape;
  size_t offset;
  size_t size;
};

/// The fixed area of one direction.
struct Layout {
  std::vector<Leaf> leaves;
  size_t bytes = 0;
  bool variable = false;  // whether the space has parts that travel in the tail
  size_t own_leaves = 0;  // those of the space; those of a batch follow

  /// The table as it stands in the greeting.
  Value table() const {
    Value rows = Value::list();
    for (const Leaf& leaf : leaves) {
      Value sizes = Value::list();
      for (const int64_t size : leaf.shape) sizes.push_back(size);
      rows.push_back(Value::list({leaf.path, static_cast<int>(leaf.dtype), sizes,
                                  static_cast<uint64_t>(leaf.offset)}));
    }
    return Value::list({static_cast<uint64_t>(bytes), rows});
  }

  /// Compares with the other end's table; names the first difference.
  Status check(const Value* theirs, const char* what) const {
    const Value ours = table();
    if (theirs && *theirs == ours) return Status();
    std::string where = "the number of leaves, or the size";
    if (theirs && theirs->kind() == Value::Kind::list && theirs->size() == 2) {
      const Value& rows = (*theirs)[1];
      for (size_t i = 0; i < leaves.size() && i < rows.size(); ++i) {
        if (rows[i] == ours[1][i]) continue;
        where = leaves[i].path;
        break;
      }
    }
    return Status(Code::space_mismatch, std::string("the ") + what + " layouts of both ends differ at " +
                                            where + ": compare the spaces of both ends");
  }
};

/// The batch of a layout: how many environments, and whether a message is a batch at all.
struct Batch {
  bool vector = false;
  uint32_t num_envs = 1;
};

inline void collect_leaves(const Space& space, const std::string& path, const Batch& batch,
                           Layout& layout) {
  const auto add = [&](DType dtype, const Shape& shape) {
    Leaf leaf{path, dtype, {}, 0, 0};
    if (batch.vector) leaf.shape.push_back(batch.num_envs);
    leaf.shape.insert(leaf.shape.end(), shape.begin(), shape.end());
    layout.leaves.push_back(std::move(leaf));
  };
  switch (space.kind) {
    case Space::Kind::box:
    case Space::Kind::multi_binary:
    case Space::Kind::multi_discrete: add(space.dtype, space.shape); break;
    case Space::Kind::discrete: add(batch.vector ? space.dtype : DType::none, {}); break;
    case Space::Kind::dict:
      for (size_t i = 0; i < space.spaces.size(); ++i) {
        collect_leaves(space.spaces[i], path + "." + space.keys[i], batch, layout);
      }
      break;
    case Space::Kind::tuple:
      for (size_t i = 0; i < space.spaces.size(); ++i) {
        collect_leaves(space.spaces[i], path + "[" + std::to_string(i) + "]", batch, layout);
      }
      break;
    default: layout.variable = true;
  }
}

/// The fixed area of elements of a space; `reports`: those of observations.
inline Result<Layout> compile_layout(const Space& space, const Batch& batch, bool reports) {
  Layout layout;
  collect_leaves(space, "$", batch, layout);
  layout.own_leaves = layout.leaves.size();
  if (batch.vector) {
    const auto extra = [&](const char* name, DType dtype) {
      layout.leaves.push_back(Leaf{name, dtype, {batch.num_envs}, 0, 0});
    };
    if (reports) {
      extra("$reward", DType::float64);
      extra("$terminated", DType::boolean);
      extra("$truncated", DType::boolean);
      extra("$status", DType::uint8);
    } else {
      extra("$reset_mask", DType::boolean);
    }
  }
  uint64_t offset = 0;
  for (Leaf& leaf : layout.leaves) {
    uint64_t size = number_cell_bytes;
    if (leaf.dtype != DType::none) {
      size = item_bytes(leaf.dtype);
      for (const int64_t length : leaf.shape) {
        size = length == 0 ? 0 : size * static_cast<uint64_t>(length);
        if (size > max_slot_payload_bytes) break;
      }
    }
    offset = aligned(offset, size >= 64 ? 64 : 8);
    leaf.offset = static_cast<size_t>(offset);
    leaf.size = static_cast<size_t>(size);
    offset += size;
    if (offset > max_slot_payload_bytes) {
      return Status(Code::too_large, "the arrays of one message exceed 1 GiB, at " + leaf.path +
                                         ": use smaller spaces, or fewer environments");
    }
  }
  layout.bytes = static_cast<size_t>(aligned(offset, 8));
  return layout;
}

// ------------------------------------------------------------------ number cells

inline constexpr uint32_t number_int = 64;
inline constexpr uint32_t number_float = 65;
inline constexpr uint32_t number_bool = 66;

/// Puts a number into eight bytes; returns its type code, 0 where it is no such number.
inline uint32_t store_number(const Value& value, uint8_t* cell) {
  int64_t word = 0;
  switch (value.kind()) {
    case Value::Kind::boolean:
    case Value::Kind::integer:
      word = value.integer();
      std::memcpy(cell, &word, 8);
      return value.kind() == Value::Kind::boolean ? number_bool : number_int;
    case Value::Kind::real: {
      const double real = value.real();
      std::memcpy(cell, &real, 8);
      return number_float;
    }
    case Value::Kind::scalar:
      if (item_bytes(value.dtype()) > 8) return 0;
      std::memset(cell, 0, 8);
      std::memcpy(cell, value.scalar_data(), item_bytes(value.dtype()));
      return static_cast<uint32_t>(value.dtype());
    default: return 0;
  }
}

/// Reads a number of a type code; false where code or bytes are malformed.
inline bool load_number(uint32_t code, const uint8_t* cell, Value& value) {
  int64_t word;
  std::memcpy(&word, cell, 8);
  switch (code) {
    case number_int: value = word; return true;
    case number_bool:
      value = word != 0;
      return word == 0 || word == 1;
    case number_float: {
      double real;
      std::memcpy(&real, cell, 8);
      value = real;
      return true;
    }
    default: {
      if (code > 255) return false;
      const auto dtype = static_cast<DType>(code);
      const size_t size = item_bytes(dtype);
      if (size == 0 || size > 8) return false;
      value.become_scalar(dtype, cell);
      return dtype != DType::boolean || cell[0] <= 1;
    }
  }
}

/// Whether a type code may stand for an element of a discrete space.
inline bool is_discrete_code(uint32_t code) {
  return (code >= 1 && code <= 9) || code == number_int || code == number_bool;
}

// ------------------------------------------------- elements in and out of the area

/// Puts elements of a space into the fixed area; variable parts are only pointed at.
class AreaWriter {
 public:
  AreaWriter(const Layout& layout, uint8_t* payload) : layout_(layout), payload_(payload) {}

  /// False where the value has not exactly the space's structure, dtypes and shapes: the
  /// area is of no use then, and `misfit` says what is wrong.
  bool store(const Space& space, const Value& value, const std::string& path = "$") {
    switch (space.kind) {
      case Space::Kind::dict: return store_dict(space, value, path);
      case Space::Kind::tuple: return store_tuple(space, value, path);
      default: break;
    }
    if (space.is_variable()) {
      variable.push_back(&value);
      return true;
    }
    const Leaf& leaf = layout_.leaves[next_++];
    if (leaf.dtype == DType::none) return store_cell(leaf, value);
    return store_array(leaf, value);
  }
  bool store_array(const Leaf& leaf, const Value& value) {
    if (!value.is_array() || value.dtype() != leaf.dtype || value.shape() != leaf.shape ||
        value.raw_bytes() != leaf.size) {
      return refuse(leaf.path, std::string("an array of ") + name_of(leaf.dtype) + " " +
                                   text_of(leaf.shape), value);
    }
    if (leaf.dtype == DType::boolean && !are_bools(value.raw(), leaf.size)) {
      return refuse(leaf.path, "bytes 0 and 1", value);
    }
    if (leaf.size) std::memcpy(payload_ + leaf.offset, value.raw(), leaf.size);
    return true;
  }

  std::vector<const Value*> variable;
  std::string misfit;

 private:
  bool refuse(const std::string& path, const std::string& expected, const Value& value) {
    if (!misfit.empty()) return false;
    misfit = "expected " + expected;
    if (value.is_array()) {
      misfit += std::string(", got an array of ") + name_of(value.dtype()) + " " + text_of(value.shape());
    } else {
      misfit += ", got something else";
    }
    misfit += ", at " + path;
    return false;
  }
  bool store_cell(const Leaf& leaf, const Value& value) {
    uint8_t* cell = payload_ + leaf.offset;
    const uint32_t code = store_number(value, cell);
    if (!is_discrete_code(code)) return refuse(leaf.path, "an integer", value);
    const uint32_t words[2] = {code, 0};
    std::memcpy(cell + 8, words, 8);
    return true;
  }
  bool store_dict(const Space& space, const Value& value, const std::string& path) {
    if (!value.is_map() || value.size() != space.spaces.size()) {
      return refuse(path, "a map of " + std::to_string(space.spaces.size()) + " keys", value);
    }
    for (size_t i = 0; i < space.spaces.size(); ++i) {
      const std::string& key = space.keys[i];
      const Value* item = value.key(i) == key ? &value[i] : value.find(key);
      if (!item) return refuse(path, "the key " + quoted(key), value);
      if (!store(space.spaces[i], *item, path + "." + key)) return false;
    }
    return true;
  }
  bool store_tuple(const Space& space, const Value& value, const std::string& path) {
    if (value.kind() != Value::Kind::tuple || value.size() != space.spaces.size()) {
      return refuse(path, "a tuple of " + std::to_string(space.spaces.size()), value);
    }
    for (size_t i = 0; i < space.spaces.size(); ++i) {
      if (!store(space.spaces[i], value[i], path)) return false;
    }
    return true;
  }

  const Layout& layout_;
  uint8_t* payload_;
  size_t next_ = 0;
};

/// Takes elements of a space out of the fixed area and out of the list of variable parts.
class AreaReader {
 public:
  AreaReader(const Layout& layout, const uint8_t* payload, Value* variable)
      : layout_(layout), payload_(payload), variable_(variable) {}

  Status load(const Space& space, Value& value) {
    if (!take(space, value)) return protocol_error(problem_);
    if (next_part_ != (variable_ ? variable_->size() : 0)) {
      return protocol_error("a message has other variable parts than its space");
    }
    return Status();
  }
  bool load_array(const Leaf& leaf, Value& value) {
    const uint8_t* data = payload_ + leaf.offset;
    if (leaf.dtype == DType::boolean && !are_bools(data, leaf.size)) {
      return refuse(leaf.path + ": a bool is a byte 0 or 1");
    }
    value.become_array(leaf.dtype, leaf.shape, data, leaf.size);
    return true;
  }
  const std::string& problem() const { return problem_; }

 private:
  bool refuse(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }
  bool take(const Space& space, Value& value) {
    if (space.kind == Space::Kind::dict || space.kind == Space::Kind::tuple) {
      const bool is_dict = space.kind == Space::Kind::dict;
      const auto kind = is_dict ? Value::Kind::map : Value::Kind::tuple;
      // The same structure as last time keeps its memory.
      if (value.kind() != kind || value.size() != space.spaces.size() ||
          (is_dict && value.keys() != space.keys)) {
        value.become_items(kind);
        value.items().resize(space.spaces.size());
        if (is_dict) value.keys() = space.keys;
      }
      for (size_t i = 0; i < space.spaces.size(); ++i) {
        if (!take(space.spaces[i], value[i])) return false;
      }
      return true;
    }
    if (space.is_variable()) {
      if (!variable_ || next_part_ >= variable_->size()) {
        return refuse("a message lacks the variable parts of its space");
      }
      value = std::move((*variable_)[next_part_++]);
      return true;
    }
    const Leaf& leaf = layout_.leaves[next_++];
    if (leaf.dtype != DType::none) return load_array(leaf, value);
    uint32_t code;
    std::memcpy(&code, payload_ + leaf.offset + 8, 4);
    return (is_discrete_code(code) && load_number(code, payload_ + leaf.offset, value)) ||
           refuse(leaf.path + ": a discrete value of a malformed type");
  }

  const Layout& layout_;
  const uint8_t* payload_;
  Value* variable_;
  size_t next_ = 0;
  size_t next_part_ = 0;
  std::string problem_;
};

}  // namespace rlay::detail
