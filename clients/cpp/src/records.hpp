// Infos of scalars whose keys and types do not change, compiled.

#pragma once

#include "messages.hpp"

namespace rlay::detail {

inline constexpr size_t max_record_keys = 256;

/// The type code that a value has in a record; 0 where it has none.
inline uint32_t record_code(const Value& value) {
  uint8_t cell[8];
  return store_number(value, cell);
}

/// Packs infos that look like the one before: only the second in a row becomes a record,
/// so that infos which change all the time cost one comparison.
class RecordWriter {
 public:
  /// Appends the record of `info`; false where it must go as a value.
  bool pack(const Value& info, Bytes& out) {
    if (!same(info)) {
      learn(info);
      return false;
    }
    if (head_.empty()) return false;
    out.insert(out.end(), head_.begin(), head_.end());
    for (size_t i = 0; i < info.size(); ++i) {
      uint8_t cell[8];
      store_number(info[i], cell);
      out.insert(out.end(), cell, cell + 8);
    }
    return true;
  }

 private:
  bool same(const Value& info) const {
    if (info.keys() != keys_) return false;
    for (size_t i = 0; i < codes_.size(); ++i) {
      if (record_code(info[i]) != codes_[i]) return false;
    }
    return true;
  }
  void learn(const Value& info) {
    keys_ = info.keys();
    codes_.clear();
    head_.clear();
    bool fits = keys_.size() <= max_record_keys;
    for (size_t i = 0; i < info.size(); ++i) {
      codes_.push_back(record_code(info[i]));
      fits = fits && codes_.back() != 0 && is_utf8(keys_[i]);
    }
    if (!fits) return;
    Bytes schema;
    Packer packer(schema);
    packer.array(2 * keys_.size());
    for (size_t i = 0; i < keys_.size(); ++i) {
      packer.text(keys_[i]);
      packer.natural(codes_[i]);
    }
    const uint32_t sizes[2] = {static_cast<uint32_t>(schema.size()),
                               static_cast<uint32_t>(8 * keys_.size())};
    head_.resize(8);
    std::memcpy(head_.data(), sizes, 8);
    head_.insert(head_.end(), schema.begin(), schema.end());
    head_.resize(8 + static_cast<size_t>(aligned(schema.size(), 8)));
  }

  std::vector<std::string> keys_;
  std::vector<uint32_t> codes_;
  Bytes head_;
};

/// Reads the record behind a fixed area.
inline Status read_record(const uint8_t* data, size_t size, Value& info) {
  const auto malformed = [] { return protocol_error("an info record is malformed"); };
  if (size < 8) return malformed();
  uint32_t sizes[2];
  std::memcpy(sizes, data, 8);
  const uint64_t start = 8 + aligned(sizes[0], 8);
  if (start + sizes[1] != size) return malformed();
  Value schema;
  ValueDecoder decoder(data + 8, sizes[0]);
  if (!decoder.whole(schema) || schema.kind() != Value::Kind::list || schema.size() % 2 ||
      schema.size() / 2 > max_record_keys || schema.size() / 2 * 8 != sizes[1]) {
    return malformed();
  }
  info = Value::map();
  for (size_t i = 0; i < schema.size(); i += 2) {
    const int64_t code = schema[i + 1].kind() == Value::Kind::integer ? schema[i + 1].integer() : 0;
    if (!schema[i].is_text() || code <= 0 || code > UINT8_MAX || code == 14) return malformed();
    if (info.find(schema[i].text())) return malformed();
    Value& item = info[schema[i].text().c_str()];
    if (!load_number(static_cast<uint32_t>(code), data + start + i / 2 * 8, item)) return malformed();
  }
  return Status();
}

}  // namespace rlay::detail
