// Gymnasium's spaces, built in code, and their descriptions on the wire.

#pragma once

#include "decoding.hpp"

namespace rlay {

/// One of Gymnasium's ten kinds of space, or one that only the other end knows.
/// Made by the functions below: `box`, `discrete`, `dict` and so on.
struct Space {
  enum class Kind : uint8_t {
    box, discrete, multi_binary, multi_discrete, text, dict, tuple, sequence, graph, one_of,
    opaque,
  };

  Kind kind = Kind::tuple;
  DType dtype = DType::none;      // of box, discrete, multi_discrete; int8 of multi_binary
  Shape shape;                    // of box, multi_binary, multi_discrete
  Value low, high;                // of box: arrays of the shape, or of shape ()
  Value bounded_below, bounded_above;
  Value n, start;                 // of discrete: integers; of multi_discrete: arrays
  bool flag = false;              // flat, sort_keys, stack
  int64_t min_length = 0;         // of text
  int64_t max_length = 0;
  std::string charset;
  std::vector<std::string> keys;  // of dict
  std::vector<Space> spaces;      // members of dict, tuple, one_of; feature; node and edge
  std::string type_name;          // of opaque
  std::string representation;

  /// Whether an element is a leaf: an array or a number of a fixed size.
  bool is_leaf() const {
    return kind == Kind::box || kind == Kind::discrete || kind == Kind::multi_binary ||
           kind == Kind::multi_discrete;
  }
  /// Whether its values travel in the tail, whole.
  bool is_variable() const {
    return !is_leaf() && kind != Kind::dict && kind != Kind::tuple;
  }

  /// The description as the value that travels.
  Value describe() const;
  /// The space of a description from the other end; every part of it is checked.
  static Result<Space> parse(const Value& description);
};

namespace detail {

/// Writes a number as an element of a dtype; false where the dtype does not hold it.
inline bool put_number(DType dtype, double number, uint8_t* target) {
  const auto put = [&](auto typed) {
    std::memcpy(target, &typed, sizeof typed);
    return static_cast<double>(typed) == number || std::isnan(number);
  };
  const auto whole = [&](auto typed) {
    using T = decltype(typed);
    if (!(number >= static_cast<double>(std::numeric_limits<T>::min()) &&
          number <= static_cast<double>(std::numeric_limits<T>::max()))) {
      // 2**63 and 2**64 are the floats next to the greatest integers.
      const bool beyond = number > 0;
      const T edge = beyond ? std::numeric_limits<T>::max() : std::numeric_limits<T>::min();
      std::memcpy(target, &edge, sizeof edge);
      return false;
    }
    if (number >= static_cast<double>(std::numeric_limits<T>::max())) {
      const T edge = std::numeric_limits<T>::max();
      std::memcpy(target, &edge, sizeof edge);
      return true;
    }
    return put(static_cast<T>(number));
  };
  switch (dtype) {
    case DType::boolean: {
      *target = number != 0 ? 1 : 0;
      return number == 0 || number == 1;
    }
    case DType::int8: return whole(int8_t{});
    case DType::uint8: return whole(uint8_t{});
    case DType::int16: return whole(int16_t{});
    case DType::uint16: return whole(uint16_t{});
    case DType::int32: return whole(int32_t{});
    case DType::uint32: return whole(uint32_t{});
    case DType::int64: return whole(int64_t{});
    case DType::uint64: return whole(uint64_t{});
    case DType::float32: put(static_cast<float>(number)); return true;  // rounded, as NumPy does
    case DType::float64: return put(number);
    default: return false;
  }
}

/// An array of shape () of a number.
inline Value one_of_dtype(DType dtype, double number) {
  Value value = Value::array(dtype, Shape{});
  put_number(dtype, number, value.raw());
  return value;
}

/// One element where all are equal bit by bit, else the array: as the bounds travel.
inline Value compacted(const Value& array) {
  const size_t item = item_bytes(array.dtype());
  const size_t size = array.raw_bytes();
  if (item == 0 || size <= item) return array;
  for (size_t at = item; at < size; at += item) {
    if (std::memcmp(array.raw(), array.raw() + at, item) != 0) return array;
  }
  Value one;
  one.become_array(array.dtype(), Shape{}, array.raw(), item);
  return one;
}

/// Which elements of a bound are finite on the side that counts.
inline Value bounded_by(const Value& bound, bool below) {
  Value value = Value::array(DType::boolean, bound.shape());
  const size_t item = item_bytes(bound.dtype());
  const double infinity = std::numeric_limits<double>::infinity();
  for (size_t i = 0; item && i < bound.raw_bytes() / item; ++i) {
    double number = 0;
    if (bound.dtype() == DType::float32) {
      float typed;
      std::memcpy(&typed, bound.raw() + 4 * i, 4);
      number = static_cast<double>(typed);
    } else if (bound.dtype() == DType::float64) {
      std::memcpy(&number, bound.raw() + 8 * i, 8);
    }
    value.raw()[i] = below ? number > -infinity : number < infinity;
  }
  return value;
}

}  // namespace detail

// ----------------------------------------------------------------------- builders

/// A box whose elements all have the bounds `low` and `high`; infinities are allowed in a
/// box of floats.
inline Space box(DType dtype, Shape shape, double low, double high) {
  Space space;
  space.kind = Space::Kind::box;
  space.dtype = dtype;
  space.shape = std::move(shape);
  space.low = detail::one_of_dtype(dtype, low);
  space.high = detail::one_of_dtype(dtype, high);
  space.bounded_below = detail::bounded_by(space.low, true);
  space.bounded_above = detail::bounded_by(space.high, false);
  return space;
}
template <class T>
Space box(Shape shape, double low, double high) {
  return box(detail::DTypeOf<T>::value, std::move(shape), low, high);
}
/// A box with bounds of its own for each element: two arrays of its dtype and shape.
inline Space box(Value low, Value high) {
  Space space;
  space.kind = Space::Kind::box;
  space.dtype = low.dtype();
  space.shape = low.shape();
  space.bounded_below = detail::bounded_by(low, true);
  space.bounded_above = detail::bounded_by(high, false);
  space.low = std::move(low);
  space.high = std::move(high);
  return space;
}
/// A box of one dimension with bounds of its own for each element.
template <class T>
Space box(std::initializer_list<T> low, std::initializer_list<T> high) {
  return box(Value::array<T>(low), Value::array<T>(high));
}

/// `n` numbers from `start` on. The algorithm's own actions are of the dtype.
inline Space discrete(int64_t n, int64_t start = 0, DType dtype = DType::int64) {
  Space space;
  space.kind = Space::Kind::discrete;
  space.dtype = dtype;
  space.n = n;
  space.start = start;
  return space;
}

/// `n` bits; values are arrays of int8.
inline Space multi_binary(int64_t n) {
  Space space;
  space.kind = Space::Kind::multi_binary;
  space.dtype = DType::int8;
  space.shape = {n};
  space.flag = true;
  return space;
}
inline Space multi_binary(Shape shape) {
  Space space = multi_binary(0);
  space.shape = std::move(shape);
  space.flag = false;
  return space;
}

/// Several discrete numbers: an array of the number of choices of each, and where given an
/// array of the same dtype and shape of the first of each.
inline Space multi_discrete(Value choices, Value start = Value()) {
  Space space;
  space.kind = Space::Kind::multi_discrete;
  space.dtype = choices.dtype();
  space.shape = choices.shape();
  space.start = start.is_array() ? std::move(start) : Value::array(space.dtype, Shape{});
  space.n = std::move(choices);
  return space;
}
inline Space multi_discrete(std::initializer_list<int64_t> choices) {
  return multi_discrete(Value::array<int64_t>(choices));
}

/// Text of letters and digits, unless another set of characters is given.
inline Space text(int64_t max_length, int64_t min_length = 1,
                  std::string charset =
                      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") {
  Space space;
  space.kind = Space::Kind::text;
  space.min_length = min_length;
  space.max_length = max_length;
  space.charset = std::move(charset);
  return space;
}

/// Named spaces, in this order.
inline Space dict(std::vector<std::pair<std::string, Space>> members) {
  Space space;
  space.kind = Space::Kind::dict;
  for (auto& member : members) {
    space.keys.push_back(std::move(member.first));
    space.spaces.push_back(std::move(member.second));
  }
  return space;
}

inline Space tuple(std::vector<Space> members) {
  Space space;
  space.kind = Space::Kind::tuple;
  space.spaces = std::move(members);
  return space;
}

/// Any number of elements of a space: values are tuples, or stacked arrays.
inline Space sequence(Space feature, bool stack = false) {
  Space space;
  space.kind = Space::Kind::sequence;
  space.spaces.push_back(std::move(feature));
  space.flag = stack;
  return space;
}

inline Space graph(Space node) {
  Space space;
  space.kind = Space::Kind::graph;
  space.spaces.push_back(std::move(node));
  return space;
}
inline Space graph(Space node, Space edge) {
  Space space = graph(std::move(node));
  space.spaces.push_back(std::move(edge));
  return space;
}

/// One of several spaces: values are tuples of its index and an element of it.
inline Space one_of(std::vector<Space> members) {
  Space space = tuple(std::move(members));
  space.kind = Space::Kind::one_of;
  return space;
}

// ------------------------------------------------------------------- descriptions

inline Value Space::describe() const {
  Value list = Value::list();
  const auto sizes = [this] {
    Value value = Value::list();
    for (const int64_t size : shape) value.push_back(size);
    return value;
  };
  const auto add = [&list](Value item) { list.push_back(std::move(item)); };
  const auto add_members = [&] {
    for (const Space& member : spaces) add(member.describe());
  };
  const auto code = static_cast<int>(dtype);
  switch (kind) {
    case Kind::box:
      add("box"), add(code), add(sizes());
      add(detail::compacted(low)), add(detail::compacted(high));
      add(detail::compacted(bounded_below)), add(detail::compacted(bounded_above));
      break;
    case Kind::discrete: add("discrete"), add(code), add(n), add(start); break;
    case Kind::multi_binary: add("multi_binary"), add(sizes()), add(flag); break;
    case Kind::multi_discrete:
      add("multi_discrete"), add(code), add(sizes());
      add(detail::compacted(n)), add(detail::compacted(start));
      break;
    case Kind::text: add("text"), add(min_length), add(max_length), add(charset); break;
    case Kind::dict:
      add("dict"), add(flag);
      for (size_t i = 0; i < spaces.size(); ++i) add(keys[i]), add(spaces[i].describe());
      break;
    case Kind::tuple: add("tuple"), add_members(); break;
    case Kind::sequence: add("sequence"), add_members(), add(flag); break;
    case Kind::graph:
      add("graph"), add_members();
      if (spaces.size() == 1) add(nullptr);
      break;
    case Kind::one_of: add("one_of"), add_members(); break;
    case Kind::opaque: add("opaque"), add(type_name), add(representation); break;
  }
  return list;
}

namespace detail {

/// Reads descriptions of spaces. Each part is checked before it is used.
class SpaceParser {
 public:
  bool parse(const Value& value, Space& space, int depth) {
    if (depth >= max_depth + 1) return refuse("nested deeper than 32 levels");
    if (value.kind() != Value::Kind::list || value.size() == 0 || !value[0].is_text()) {
      return refuse("the description of a space was expected");
    }
    const std::string& name = value[0].text();
    if (name == "box") return parse_box(value, space);
    if (name == "discrete") return parse_discrete(value, space);
    if (name == "multi_binary") return parse_multi_binary(value, space);
    if (name == "multi_discrete") return parse_multi_discrete(value, space);
    if (name == "text") return parse_text(value, space);
    if (name == "dict") return parse_dict(value, space, depth);
    if (name == "tuple") return members(value, space, Space::Kind::tuple, depth);
    if (name == "one_of") return members(value, space, Space::Kind::one_of, depth);
    if (name == "sequence") return parse_sequence(value, space, depth);
    if (name == "graph") return parse_graph(value, space, depth);
    if (name == "opaque") return parse_opaque(value, space);
    return refuse("an unknown kind of space");
  }
  const std::string& problem() const { return problem_; }

 private:
  bool refuse(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }
  bool fields(const Value& value, size_t count) {
    return value.size() == 1 + count || refuse(value[0].text() + " has other fields");
  }
  static bool is_integer(const Value& value) {
    return value.kind() == Value::Kind::integer || value.kind() == Value::Kind::natural;
  }
  bool dtype(const Value& value, Space& space, DType first, DType last) {
    const int64_t code = value.kind() == Value::Kind::integer ? value.integer() : -1;
    if (code < static_cast<int>(first) || code > static_cast<int>(last)) {
      return refuse("a dtype code that its kind of space has not");
    }
    space.dtype = static_cast<DType>(code);
    return true;
  }
  bool shape(const Value& value, Space& space) {
    if (value.kind() != Value::Kind::list || value.size() >= max_dimensions) {
      return refuse("a malformed shape");
    }
    uint64_t total = item_bytes(space.dtype);
    for (size_t i = 0; i < value.size(); ++i) {
      const int64_t size = value[i].kind() == Value::Kind::integer ? value[i].integer() : -1;
      if (size < 0 || size > max_items) return refuse("a malformed shape");
      total *= size ? static_cast<uint64_t>(size) : 1;
      if (total > max_slot_payload_bytes) return refuse("an array of more than 1 GiB");
      space.shape.push_back(size);
    }
    return true;
  }
  bool bound(const Value& value, DType dtype, const Shape& shape, Value& target) {
    if (!value.is_array() || value.dtype() != dtype ||
        (value.shape() != shape && !value.shape().empty())) {
      return refuse("a bound is no array of the space's dtype and shape");
    }
    target = value;
    return true;
  }
  bool parse_box(const Value& value, Space& space) {
    space.kind = Space::Kind::box;
    return fields(value, 6) && dtype(value[1], space, DType::boolean, DType::complex128) &&
           shape(value[2], space) && bound(value[3], space.dtype, space.shape, space.low) &&
           bound(value[4], space.dtype, space.shape, space.high) &&
           bound(value[5], DType::boolean, space.shape, space.bounded_below) &&
           bound(value[6], DType::boolean, space.shape, space.bounded_above);
  }
  bool parse_discrete(const Value& value, Space& space) {
    space.kind = Space::Kind::discrete;
    if (!fields(value, 3) || !dtype(value[1], space, DType::int8, DType::uint64)) return false;
    if (!is_integer(value[2]) || !is_integer(value[3])) return refuse("n or start is no integer");
    if (value[2].kind() == Value::Kind::integer && value[2].integer() <= 0) {
      return refuse("n is not above 0");
    }
    space.n = value[2];
    space.start = value[3];
    return true;
  }
  bool parse_multi_binary(const Value& value, Space& space) {
    space.kind = Space::Kind::multi_binary;
    space.dtype = DType::int8;
    if (!fields(value, 2) || !shape(value[1], space)) return false;
    if (value[2].kind() != Value::Kind::boolean) return refuse("flat is no bool");
    space.flag = value[2].boolean();
    return !space.flag || space.shape.size() == 1 || refuse("a flat space of other dimensions");
  }
  bool parse_multi_discrete(const Value& value, Space& space) {
    space.kind = Space::Kind::multi_discrete;
    return fields(value, 4) && dtype(value[1], space, DType::int8, DType::uint64) &&
           shape(value[2], space) && bound(value[3], space.dtype, space.shape, space.n) &&
           bound(value[4], space.dtype, space.shape, space.start);
  }
  bool parse_text(const Value& value, Space& space) {
    space.kind = Space::Kind::text;
    if (!fields(value, 3)) return false;
    if (value[1].kind() != Value::Kind::integer || value[2].kind() != Value::Kind::integer ||
        !value[3].is_text()) {
      return refuse("a text space has two integers and a charset");
    }
    space.min_length = value[1].integer();
    space.max_length = value[2].integer();
    space.charset = value[3].text();
    return (space.min_length >= 0 && space.max_length >= space.min_length) ||
           refuse("lengths of text that cannot be");
  }
  bool parse_dict(const Value& value, Space& space, int depth) {
    space.kind = Space::Kind::dict;
    if (value.size() < 2 || value.size() % 2 || value[1].kind() != Value::Kind::boolean) {
      return refuse("a malformed dict space");
    }
    space.flag = value[1].boolean();
    for (size_t i = 2; i < value.size(); i += 2) {
      if (!value[i].is_text()) return refuse("a key that is no text");
      space.keys.push_back(value[i].text());
      space.spaces.emplace_back();
      if (!parse(value[i + 1], space.spaces.back(), depth + 1)) return false;
    }
    std::vector<std::string> sorted = space.keys;
    std::sort(sorted.begin(), sorted.end());
    return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end() ||
           refuse("a key occurs twice");
  }
  bool members(const Value& value, Space& space, Space::Kind kind, int depth) {
    space.kind = kind;
    for (size_t i = 1; i < value.size(); ++i) {
      space.spaces.emplace_back();
      if (!parse(value[i], space.spaces.back(), depth + 1)) return false;
    }
    return true;
  }
  bool parse_sequence(const Value& value, Space& space, int depth) {
    space.kind = Space::Kind::sequence;
    if (!fields(value, 2)) return false;
    if (value[2].kind() != Value::Kind::boolean) return refuse("stack is no bool");
    space.flag = value[2].boolean();
    space.spaces.emplace_back();
    return parse(value[1], space.spaces.back(), depth + 1);
  }
  bool parse_graph(const Value& value, Space& space, int depth) {
    space.kind = Space::Kind::graph;
    if (!fields(value, 2)) return false;
    space.spaces.emplace_back();
    if (!parse(value[1], space.spaces.back(), depth + 1)) return false;
    if (value[2].is_nil()) return true;
    space.spaces.emplace_back();
    return parse(value[2], space.spaces.back(), depth + 1);
  }
  bool parse_opaque(const Value& value, Space& space) {
    space.kind = Space::Kind::opaque;
    if (!fields(value, 2)) return false;
    if (!value[1].is_text() || !value[2].is_text()) return refuse("an opaque space has two texts");
    space.type_name = value[1].text();
    space.representation = value[2].text();
    return true;
  }

  std::string problem_;
};

}  // namespace detail

inline Result<Space> Space::parse(const Value& description) {
  Space space;
  detail::SpaceParser parser;
  if (parser.parse(description, space, 0)) return space;
  return detail::protocol_error("malformed description of a space: " + parser.problem());
}

}  // namespace rlay
