// Values in the notation of tests/conformance/notation.py, both ways.

#pragma once

#include "json.hpp"

inline std::string to_hex(const uint8_t* data, size_t size) {
  std::string text;
  char two[3];
  for (size_t i = 0; i < size; ++i) {
    std::snprintf(two, sizeof two, "%02x", data[i]);
    text += two;
  }
  return text;
}

inline std::vector<uint8_t> from_hex(const std::string& text) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::strtoul(text.substr(i, 2).c_str(), nullptr, 16)));
  }
  return bytes;
}

inline rlay::DType dtype_of(const std::string& name) {
  for (int code = 1; code <= 14; ++code) {
    if (name == rlay::name_of(static_cast<rlay::DType>(code))) return static_cast<rlay::DType>(code);
  }
  std::fprintf(stderr, "unknown dtype %s\n", name.c_str());
  std::exit(2);
}

inline rlay::Shape shape_of(const rlay::Value& list) {
  rlay::Shape shape;
  for (const rlay::Value& size : list.items()) shape.push_back(size.integer());
  return shape;
}

/// An integer of decimal digits, of any size.
inline rlay::Value integer_of(const std::string& digits) {
  const bool negative = digits[0] == '-';
  std::vector<uint8_t> bytes;  // little-endian magnitude
  for (size_t i = negative; i < digits.size(); ++i) {
    unsigned carry = static_cast<unsigned>(digits[i] - '0');
    for (uint8_t& byte : bytes) {
      carry += 10U * byte;
      byte = static_cast<uint8_t>(carry);
      carry >>= 8;
    }
    if (carry) bytes.push_back(static_cast<uint8_t>(carry));
  }
  if (bytes.size() <= 8) {
    uint64_t magnitude = 0;
    for (size_t i = 0; i < bytes.size(); ++i) magnitude |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    if (!negative) return magnitude;
    if (magnitude <= uint64_t{1} << 63) return static_cast<int64_t>(~magnitude + 1);
  }
  // As Python's to_bytes(bit_length // 8 + 1): there is always room for the sign.
  if (bytes.back() & 0x80) bytes.push_back(0);
  if (negative) {
    unsigned carry = 1;
    for (uint8_t& byte : bytes) {
      carry += static_cast<uint8_t>(~byte);
      byte = static_cast<uint8_t>(carry);
      carry >>= 8;
    }
  }
  return rlay::Value::big_integer(bytes);
}

inline rlay::Value from_notation(const rlay::Value& noted) {
  using rlay::Value;
  const auto all = [](const Value& list) {
    std::vector<Value> items;
    for (const Value& item : list.items()) items.push_back(from_notation(item));
    return items;
  };
  if (noted.kind() == Value::Kind::list) return Value::list(all(noted));
  if (!noted.is_map()) return noted;
  const std::string& kind = noted.key(0);
  const Value& content = noted[0];
  if (kind == "$int") return integer_of(content.text());
  if (kind == "$float") {
    if (!content.is_text()) return content.real();
    const auto bits = static_cast<uint64_t>(std::strtoull(content.text().c_str(), nullptr, 16));
    double real;
    std::memcpy(&real, &bits, 8);
    return real;
  }
  if (kind == "$bytes") {
    const auto bytes = from_hex(content.text());
    return Value::bytes(bytes.data(), bytes.size());
  }
  if (kind == "$tuple") return Value::tuple(all(content));
  if (kind == "$map") {
    Value map = Value::map();
    for (const Value& pair : content.items()) map.set(pair[0].text().c_str(), from_notation(pair[1]));
    return map;
  }
  Value value;
  if (kind == "$scalar") {
    const auto bytes = from_hex(content[1].text());
    value.become_scalar(dtype_of(content[0].text()), bytes.data());
    return value;
  }
  if (kind == "$array") {
    const auto bytes = from_hex(content[2].text());
    value.become_array(dtype_of(content[0].text()), shape_of(content[1]), bytes.data(), bytes.size());
    return value;
  }
  if (kind == "$object_array") return Value::object_array(shape_of(content[0]), all(content[1]));
  if (kind == "$graph") {
    auto items = all(content);
    return Value::graph(items[0], items[1], items[2]);
  }
  std::fprintf(stderr, "unknown notation %s\n", kind.c_str());
  std::exit(2);
}
