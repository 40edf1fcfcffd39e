// Msgpack to values: every length is checked before it is used.

#pragma once

#include "encoding.hpp"

namespace rlay::detail {

/// Reads values from bytes that a peer wrote.
class ValueDecoder {
 public:
  ValueDecoder(const uint8_t* data, size_t size, bool big_integers = false)
      : at_(data), end_(data + size), big_integers_(big_integers) {}

  /// Reads one value, which must be all that is there.
  Status whole(Value& value, int depth = 0) {
    if (get(value, depth) && (at_ == end_ || refuse("bytes are left behind the value"))) {
      return Status();
    }
    return failure();
  }
  /// Reads the head of an array that is read item by item.
  bool array_head(uint32_t& count) {
    uint8_t head;
    if (!byte(head)) return false;
    if ((head & 0xF0) == 0x90) {
      count = head & 0x0F;
    } else if (head == 0xDC || head == 0xDD) {
      uint64_t size;
      if (!number(head == 0xDC ? 2 : 4, size)) return false;
      count = static_cast<uint32_t>(size);
    } else {
      return refuse("an array was expected");
    }
    return count <= left() || refuse("an array is longer than its message");
  }
  bool get(Value& value, int depth) {
    uint8_t head;
    if (!byte(head)) return false;
    if (head < 0x80) return set(value, static_cast<int64_t>(head));
    if (head >= 0xE0) return set(value, static_cast<int64_t>(static_cast<int8_t>(head)));
    if (head < 0x90) return map(value, head & 0x0FU, depth);
    if (head < 0xA0) return items(value, Value::Kind::list, head & 0x0FU, depth);
    if (head < 0xC0) return text(value, head & 0x1FU);
    uint64_t size = 0;
    switch (head) {
      case 0xC0: value.become_nil(); return true;
      case 0xC2: value = false; return true;
      case 0xC3: value = true; return true;
      case 0xC4: return number(1, size) && bytes(value, size);
      case 0xC5: return number(2, size) && bytes(value, size);
      case 0xC6: return number(4, size) && bytes(value, size);
      case 0xC7: return number(1, size) && extension(value, size, depth);
      case 0xC8: return number(2, size) && extension(value, size, depth);
      case 0xC9: return number(4, size) && extension(value, size, depth);
      case 0xCA: return real32(value);
      case 0xCB: return real64(value);
      case 0xCC: return number(1, size) && set_natural(value, size);
      case 0xCD: return number(2, size) && set_natural(value, size);
      case 0xCE: return number(4, size) && set_natural(value, size);
      case 0xCF: return number(8, size) && set_natural(value, size);
      case 0xD0: return number(1, size) && set(value, static_cast<int8_t>(size));
      case 0xD1: return number(2, size) && set(value, static_cast<int16_t>(size));
      case 0xD2: return number(4, size) && set(value, static_cast<int32_t>(size));
      case 0xD3: return number(8, size) && set(value, static_cast<int64_t>(size));
      case 0xD4: return extension(value, 1, depth);
      case 0xD5: return extension(value, 2, depth);
      case 0xD6: return extension(value, 4, depth);
      case 0xD7: return extension(value, 8, depth);
      case 0xD8: return extension(value, 16, depth);
      case 0xD9: return number(1, size) && text(value, size);
      case 0xDA: return number(2, size) && text(value, size);
      case 0xDB: return number(4, size) && text(value, size);
      case 0xDC: return number(2, size) && items(value, Value::Kind::list, size, depth);
      case 0xDD: return number(4, size) && items(value, Value::Kind::list, size, depth);
      case 0xDE: return number(2, size) && map(value, size, depth);
      case 0xDF: return number(4, size) && map(value, size, depth);
      default: return refuse("a byte that msgpack does not use");
    }
  }
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  Status failure() const { return protocol_error("malformed value: " + problem_); }
  bool refuse(const char* problem) {
    if (problem_.empty()) problem_ = problem;
    return false;
  }

 private:
  bool byte(uint8_t& value) {
    if (at_ == end_) return refuse("it ends too soon");
    value = *at_++;
    return true;
  }
  bool number(int size, uint64_t& value) {
    if (left() < static_cast<size_t>(size)) return refuse("it ends too soon");
    value = 0;
    for (int i = 0; i < size; ++i) value = value << 8 | *at_++;
    return true;
  }
  static bool set(Value& value, int64_t number) {
    value = number;
    return true;
  }
  static bool set_natural(Value& value, uint64_t number) {
    value = number;
    return true;
  }
  bool real32(Value& value) {
    uint64_t bits;
    if (!number(4, bits)) return false;
    const auto word = static_cast<uint32_t>(bits);
    float real;
    std::memcpy(&real, &word, 4);
    value = static_cast<double>(real);
    return true;
  }
  bool real64(Value& value) {
    uint64_t bits;
    if (!number(8, bits)) return false;
    double real;
    std::memcpy(&real, &bits, 8);
    value = real;
    return true;
  }
  bool take(uint64_t size, const uint8_t*& data) {
    if (size > left()) return refuse("it ends too soon");
    data = at_;
    at_ += size;
    return true;
  }
  bool view(uint64_t size, std::string_view& text) {
    const uint8_t* data;
    if (!take(size, data)) return false;
    text = std::string_view(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
    return is_utf8(text) || refuse("text that is no UTF-8");
  }
  bool text(Value& value, uint64_t size) {
    std::string_view found;
    if (!view(size, found)) return false;
    value.become_text(found);
    return true;
  }
  bool bytes(Value& value, uint64_t size) {
    const uint8_t* data;
    if (!take(size, data)) return false;
    value.become_bytes(data, static_cast<size_t>(size));
    return true;
  }
  bool nests(int depth) { return depth < max_depth || refuse("nested deeper than 32 levels"); }
  bool items(Value& value, Value::Kind kind, uint64_t count, int depth) {
    if (!nests(depth)) return false;
    if (count > left()) return refuse("an array is longer than its message");
    value.become_items(kind);
    auto& list = value.items();
    // Memory grows with what is really there, not with what a length promises.
    for (uint64_t i = 0; i < count; ++i) {
      list.emplace_back();
      if (!get(list.back(), depth + 1)) return false;
    }
    return true;
  }
  bool map(Value& value, uint64_t count, int depth) {
    if (!nests(depth)) return false;
    if (count > left() / 2) return refuse("a map is longer than its message");
    value.become_items(Value::Kind::map);
    auto& keys = value.keys();
    auto& list = value.items();
    for (uint64_t i = 0; i < count; ++i) {
      std::string_view key;
      if (!key_text(key)) return false;
      keys.emplace_back(key);
      list.emplace_back();
      if (!get(list.back(), depth + 1)) return false;
    }
    return are_different(keys) || refuse("a key occurs twice");
  }
  bool key_text(std::string_view& key) {
    uint8_t head;
    uint64_t size = 0;
    if (!byte(head)) return false;
    if (head >= 0xA0 && head < 0xC0) {
      size = head & 0x1FU;
    } else if (head == 0xD9 || head == 0xDA || head == 0xDB) {
      if (!number(head == 0xD9 ? 1 : head == 0xDA ? 2 : 4, size)) return false;
    } else {
      return refuse("a key that is no text");
    }
    return view(size, key);
  }
  static bool are_different(const std::vector<std::string>& keys) {
    std::vector<std::string_view> sorted(keys.begin(), keys.end());
    std::sort(sorted.begin(), sorted.end());
    return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
  }

  bool extension(Value& value, uint64_t size, int depth) {
    uint8_t type;
    const uint8_t* data;
    if (!byte(type) || !take(size, data)) return false;
    const auto bytes_there = static_cast<size_t>(size);
    switch (static_cast<Extension>(type)) {
      case Extension::array: return array(value, data, bytes_there);
      case Extension::scalar: return scalar(value, data, bytes_there);
      case Extension::tuple:
      case Extension::object_array:
      case Extension::graph:
        return nests(depth) && nested(value, static_cast<Extension>(type), data, bytes_there, depth);
      case Extension::big_integer:
        if (!big_integers_) return refuse("an integer beyond 64 bits is for a seed only");
        if (size == 0 || size > max_big_int_bytes) return refuse("an integer of too many bytes");
        value = Value::big_integer(Bytes(data, data + size));
        return true;
    }
    return refuse("an unknown extension type");
  }
  bool array(Value& value, const uint8_t* data, size_t size) {
    if (size < 2) return refuse("an array without a head");
    const auto dtype = static_cast<DType>(data[0]);
    const size_t dimensions = data[1];
    const size_t item = item_bytes(dtype);
    if (item == 0) return refuse("an unknown dtype code");
    if (dimensions > max_dimensions) return refuse("more than 32 dimensions");
    if (size < 2 + 8 * dimensions) return refuse("an array without its sizes");
    Shape shape(dimensions);
    if (dimensions) std::memcpy(shape.data(), data + 2, 8 * dimensions);
    const int64_t count = item_count(shape);
    if (count < 0) return refuse("a shape that is not allowed");
    const size_t rest = size - 2 - 8 * dimensions;
    if (static_cast<size_t>(count) * item != rest) return refuse("an array of other bytes than its shape");
    const uint8_t* elements = data + 2 + 8 * dimensions;
    if (dtype == DType::boolean && !are_bools(elements, rest)) return refuse("a bool beyond 1");
    value.become_array(dtype, shape, elements, rest);
    return true;
  }
  bool scalar(Value& value, const uint8_t* data, size_t size) {
    if (size < 1) return refuse("a scalar without a dtype");
    const auto dtype = static_cast<DType>(data[0]);
    if (item_bytes(dtype) == 0) return refuse("an unknown dtype code");
    if (size != 1 + item_bytes(dtype)) return refuse("a scalar of other bytes than its dtype");
    if (dtype == DType::boolean && data[1] > 1) return refuse("a bool beyond 1");
    value.become_scalar(dtype, data + 1);
    return true;
  }
  bool nested(Value& value, Extension type, const uint8_t* data, size_t size, int depth) {
    ValueDecoder inner(data, size, big_integers_);
    uint32_t count = 0;
    if (!inner.array_head(count)) return refuse(inner.problem_.c_str());
    Shape shape;
    if (type == Extension::object_array) {
      Value sizes;
      if (count == 0 || !inner.get(sizes, depth + 1) || sizes.kind() != Value::Kind::list) {
        return refuse("an object array without a shape");
      }
      for (size_t i = 0; i < sizes.size(); ++i) {
        if (sizes[i].kind() != Value::Kind::integer) return refuse("a size that is no integer");
        shape.push_back(sizes[i].integer());
      }
      --count;
      if (item_count(shape) != static_cast<int64_t>(count)) {
        return refuse("an object array of other items than its shape");
      }
    } else if (type == Extension::graph && count != 3) {
      return refuse("a graph of other than three items");
    }
    value.become_items(type == Extension::tuple          ? Value::Kind::tuple
                       : type == Extension::object_array ? Value::Kind::object_array
                                                         : Value::Kind::graph);
    auto& list = value.items();
    for (uint32_t i = 0; i < count; ++i) {
      list.emplace_back();
      if (!inner.get(list.back(), depth + 1)) return refuse(inner.problem_.c_str());
    }
    if (type == Extension::object_array) value.set_shape(std::move(shape));
    return inner.left() == 0 || refuse("bytes are left behind a value");
  }

  const uint8_t* at_;
  const uint8_t* end_;
  bool big_integers_;
  std::string problem_;
};

}  // namespace rlay::detail
