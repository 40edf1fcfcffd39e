// Values to msgpack.

#pragma once

#include "value.hpp"

namespace rlay::detail {

using Bytes = std::vector<uint8_t>;

enum class Extension : uint8_t {
  tuple = 1,
  array = 2,
  scalar = 3,
  object_array = 4,
  graph = 5,
  big_integer = 6,
};

/// Whether these bytes are UTF-8 without surrogates and without longer forms than needed.
inline bool is_utf8(std::string_view text) {
  size_t i = 0;
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(text[at]); };
  while (i < text.size()) {
    const unsigned char lead = byte(i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() - i < length) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    }
    const unsigned char second = byte(i + 1);
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
        (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) {
      return false;
    }
    i += length;
  }
  return true;
}

/// Whether each byte is 0 or 1.
inline bool are_bools(const uint8_t* data, size_t size) {
  uint8_t all = 0;
  for (size_t i = 0; i < size; ++i) all = static_cast<uint8_t>(all | data[i]);
  return all <= 1;
}

/// Writes msgpack, in its shortest forms, behind what stands in a vector.
class Packer {
 public:
  explicit Packer(Bytes& out) : out_(out) {}

  void nil() { byte(0xC0); }
  void boolean(bool value) { byte(value ? 0xC3 : 0xC2); }
  void integer(int64_t value) {
    if (value >= 0) {
      natural(static_cast<uint64_t>(value));
    } else if (value >= -32) {
      byte(static_cast<uint8_t>(value));
    } else if (value >= INT8_MIN) {
      big_endian(0xD0, static_cast<uint64_t>(value), 1);
    } else if (value >= INT16_MIN) {
      big_endian(0xD1, static_cast<uint64_t>(value), 2);
    } else if (value >= INT32_MIN) {
      big_endian(0xD2, static_cast<uint64_t>(value), 4);
    } else {
      big_endian(0xD3, static_cast<uint64_t>(value), 8);
    }
  }
  void natural(uint64_t value) {
    if (value < 0x80) {
      byte(static_cast<uint8_t>(value));
    } else if (value <= UINT8_MAX) {
      big_endian(0xCC, value, 1);
    } else if (value <= UINT16_MAX) {
      big_endian(0xCD, value, 2);
    } else if (value <= UINT32_MAX) {
      big_endian(0xCE, value, 4);
    } else {
      big_endian(0xCF, value, 8);
    }
  }
  void real(double value) {
    uint64_t bits;
    std::memcpy(&bits, &value, 8);
    big_endian(0xCB, bits, 8);
  }
  void text(std::string_view text) {
    if (text.size() < 32) {
      byte(static_cast<uint8_t>(0xA0U | text.size()));
    } else {
      length(0xD9, 0xDA, 0xDB, text.size());
    }
    append(text.data(), text.size());
  }
  void bytes(const uint8_t* data, size_t size) {
    length(0xC4, 0xC5, 0xC6, size);
    append(data, size);
  }
  void array(size_t count) {
    if (count < 16) {
      byte(static_cast<uint8_t>(0x90U | count));
    } else {
      length(0, 0xDC, 0xDD, count);
    }
  }
  void map(size_t count) {
    if (count < 16) {
      byte(static_cast<uint8_t>(0x80U | count));
    } else {
      length(0, 0xDE, 0xDF, count);
    }
  }
  void extension(Extension type, size_t size) {
    switch (size) {
      case 1: byte(0xD4); break;
      case 2: byte(0xD5); break;
      case 4: byte(0xD6); break;
      case 8: byte(0xD7); break;
      case 16: byte(0xD8); break;
      default: length(0xC7, 0xC8, 0xC9, size);
    }
    byte(static_cast<uint8_t>(type));
  }
  void append(const void* data, size_t size) {
    const auto* first = static_cast<const uint8_t*>(data);
    if (size) out_.insert(out_.end(), first, first + size);
  }

 private:
  void byte(uint8_t value) { out_.push_back(value); }
  void big_endian(uint8_t head, uint64_t value, int size) {
    byte(head);
    for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) {
      byte(static_cast<uint8_t>(value >> shift));
    }
  }
  void length(uint8_t head8, uint8_t head16, uint8_t head32, size_t size) {
    if (head8 && size <= UINT8_MAX) {
      big_endian(head8, size, 1);
    } else if (size <= UINT16_MAX) {
      big_endian(head16, size, 2);
    } else {
      big_endian(head32, size, 4);
    }
  }

  Bytes& out_;
};

/// Writes values, and says where one cannot be written.
class ValueEncoder {
 public:
  /// `big_integers`: whether integers beyond 64 bits are allowed, as in a RESET.
  explicit ValueEncoder(Bytes& out, bool big_integers = false)
      : out_(out), packer_(out), big_integers_(big_integers) {}

  /// Writes `value` at a depth; nothing that was written is of use where it fails.
  Status encode(const Value& value, int depth = 0, const std::string& path = "$") {
    path_.clear();
    if (put(value, depth)) return Status();
    return Status(Code::unsendable_info, path + path_ + ": " + problem_);
  }

 private:
  bool put(const Value& value, int depth) {
    switch (value.kind()) {
      case Value::Kind::nil: packer_.nil(); return true;
      case Value::Kind::boolean: packer_.boolean(value.integer() != 0); return true;
      case Value::Kind::integer: packer_.integer(value.integer()); return true;
      case Value::Kind::natural: packer_.natural(value.natural()); return true;
      case Value::Kind::real: packer_.real(value.real()); return true;
      case Value::Kind::text: return put_text(value.text());
      case Value::Kind::bytes:
        if (value.raw_bytes() > UINT32_MAX) return refuse("bytes beyond 4 GiB cannot travel");
        packer_.bytes(value.raw(), value.raw_bytes());
        return true;
      case Value::Kind::list: return nests(depth) && put_list(value, depth);
      case Value::Kind::map: return nests(depth) && put_map(value, depth);
      case Value::Kind::array: return put_array(value);
      case Value::Kind::scalar: return put_scalar(value);
      case Value::Kind::tuple:
      case Value::Kind::object_array:
      case Value::Kind::graph: return nests(depth) && put_nested(value, depth);
      case Value::Kind::big_integer: return put_big_integer(value);
    }
    return refuse("a value of an unknown kind");
  }

  bool refuse(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }
  bool nests(int depth) {
    return depth < max_depth || refuse("it is nested deeper than 32 levels");
  }
  bool put_text(const std::string& text) {
    if (!is_utf8(text)) return refuse("text must be UTF-8; send other bytes as Value::bytes");
    if (text.size() > UINT32_MAX) return refuse("text beyond 4 GiB cannot travel");
    packer_.text(text);
    return true;
  }
  bool put_items(const Value& value, int depth) {
    for (size_t i = 0; i < value.size(); ++i) {
      if (put(value[i], depth + 1)) continue;
      path_.insert(0, "[" + std::to_string(i) + "]");
      return false;
    }
    return true;
  }
  bool put_list(const Value& value, int depth) {
    if (value.size() > UINT32_MAX) return refuse("a list is too long");
    packer_.array(value.size());
    return put_items(value, depth);
  }
  bool put_map(const Value& value, int depth) {
    if (value.size() > UINT32_MAX) return refuse("a map is too large");
    packer_.map(value.size());
    for (size_t i = 0; i < value.size(); ++i) {
      if (put_text(value.key(i)) && put(value[i], depth + 1)) continue;
      path_.insert(0, "." + value.key(i));
      return false;
    }
    return true;
  }
  bool put_array(const Value& value) {
    const int64_t count = item_count(value.shape());
    const size_t item = item_bytes(value.dtype());
    if (count < 0 || item == 0) return refuse("an array's shape or dtype is not allowed");
    const size_t size = static_cast<size_t>(count) * item;
    if (size != value.raw_bytes()) return refuse("an array's bytes do not fill its shape");
    if (value.dtype() == DType::boolean && !are_bools(value.raw(), size)) {
      return refuse("a bool of an array is a byte 0 or 1");
    }
    const size_t total = 2 + 8 * value.shape().size() + size;
    if (total > UINT32_MAX) return refuse("an array beyond 4 GiB cannot travel");
    packer_.extension(Extension::array, total);
    out_.push_back(static_cast<uint8_t>(value.dtype()));
    out_.push_back(static_cast<uint8_t>(value.shape().size()));
    packer_.append(value.shape().data(), 8 * value.shape().size());
    packer_.append(value.raw(), size);
    return true;
  }
  bool put_scalar(const Value& value) {
    const size_t size = item_bytes(value.dtype());
    if (size == 0) return refuse("a scalar has no dtype");
    packer_.extension(Extension::scalar, 1 + size);
    out_.push_back(static_cast<uint8_t>(value.dtype()));
    packer_.append(value.scalar_data(), size);
    return true;
  }
  /// What holds msgpack again: its length comes first, so it is written apart.
  bool put_nested(const Value& value, int depth) {
    Bytes contents;
    ValueEncoder inner(contents, big_integers_);
    Extension type = Extension::tuple;
    if (value.kind() == Value::Kind::object_array) {
      type = Extension::object_array;
      if (item_count(value.shape()) != static_cast<int64_t>(value.size())) {
        return refuse("an object array's items do not fill its shape");
      }
      inner.packer_.array(1 + value.size());
      inner.packer_.array(value.shape().size());
      for (const int64_t size : value.shape()) inner.packer_.integer(size);
    } else {
      if (value.kind() == Value::Kind::graph) {
        type = Extension::graph;
        if (value.size() != 3) return refuse("a graph has nodes, edges and edge_links");
      }
      inner.packer_.array(value.size());
    }
    if (!inner.put_items(value, depth)) {
      path_.insert(0, inner.path_);
      return refuse(inner.problem_);
    }
    if (contents.size() > UINT32_MAX) return refuse("a value beyond 4 GiB cannot travel");
    packer_.extension(type, contents.size());
    packer_.append(contents.data(), contents.size());
    return true;
  }
  bool put_big_integer(const Value& value) {
    if (!big_integers_) return refuse("an integer beyond 64 bits can only be a seed");
    if (value.raw_bytes() == 0 || value.raw_bytes() > max_big_int_bytes) {
      return refuse("an integer beyond 64 bits has 1 to 1024 bytes");
    }
    packer_.extension(Extension::big_integer, value.raw_bytes());
    packer_.append(value.raw(), value.raw_bytes());
    return true;
  }

  Bytes& out_;
  Packer packer_;
  bool big_integers_;
  std::string path_;
  std::string problem_;
};

}  // namespace rlay::detail
