// CRC-32, SHA-256 and HMAC: what a link checks and proves itself with.

#pragma once

#include "encoding.hpp"

namespace rlay::detail {

/// CRC-32 of ISO 3309, as in zlib.
inline uint32_t crc32(const uint8_t* data, size_t size, uint32_t before = 0) {
  struct Table {
    uint32_t words[256];
    Table() {
      for (uint32_t i = 0; i < 256; ++i) {
        uint32_t word = i;
        for (int bit = 0; bit < 8; ++bit) word = word & 1 ? 0xEDB88320U ^ (word >> 1) : word >> 1;
        words[i] = word;
      }
    }
  };
  static const Table table;
  uint32_t crc = ~before;
  for (size_t i = 0; i < size; ++i) crc = table.words[(crc ^ data[i]) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

/// SHA-256 of FIPS 180-4.
class Sha256 {
 public:
  static constexpr size_t bytes = 32;

  Sha256& add(const void* data, size_t size) {
    const auto* at = static_cast<const uint8_t*>(data);
    total_ += size;
    while (size > 0) {
      const size_t part = std::min(size, sizeof block_ - filled_);
      std::memcpy(block_ + filled_, at, part);
      filled_ += part;
      at += part;
      size -= part;
      if (filled_ == sizeof block_) compress();
    }
    return *this;
  }
  Bytes finish() {
    const uint64_t bits = total_ * 8;
    const uint8_t one = 0x80;
    const uint8_t zero = 0;
    add(&one, 1);
    while (filled_ != 56) add(&zero, 1);
    uint8_t length[8];
    for (int i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
    add(length, 8);
    Bytes digest;
    for (const uint32_t word : state_) {
      for (int shift = 24; shift >= 0; shift -= 8) digest.push_back(static_cast<uint8_t>(word >> shift));
    }
    return digest;
  }

 private:
  static uint32_t rotated(uint32_t word, int by) { return word >> by | word << (32 - by); }

  void compress() {
    static constexpr uint32_t rounds[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64];
    for (int i = 0; i < 16; ++i) {
      w[i] = static_cast<uint32_t>(block_[4 * i]) << 24 | static_cast<uint32_t>(block_[4 * i + 1]) << 16 |
             static_cast<uint32_t>(block_[4 * i + 2]) << 8 | block_[4 * i + 3];
    }
    for (int i = 16; i < 64; ++i) {
      const uint32_t a = rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ (w[i - 15] >> 3);
      const uint32_t b = rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    uint32_t s[8];
    std::memcpy(s, state_, sizeof s);
    for (int i = 0; i < 64; ++i) {
      const uint32_t e = rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25);
      const uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
      const uint32_t one = s[7] + e + choice + rounds[i] + w[i];
      const uint32_t a = rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22);
      const uint32_t two = a + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      for (int k = 7; k > 0; --k) s[k] = s[k - 1];
      s[4] += one;
      s[0] = one + two;
    }
    for (int i = 0; i < 8; ++i) state_[i] += s[i];
    filled_ = 0;
  }

  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t block_[64] = {};
  size_t filled_ = 0;
  uint64_t total_ = 0;
};

/// HMAC-SHA-256 of RFC 2104 over two pieces of text.
inline Bytes hmac(const Bytes& key, std::string_view label, const Bytes& text) {
  uint8_t inner[64], outer[64];
  std::memset(inner, 0x36, sizeof inner);
  std::memset(outer, 0x5C, sizeof outer);
  const Bytes shown = key.size() > 64 ? Sha256().add(key.data(), key.size()).finish() : key;
  for (size_t i = 0; i < shown.size(); ++i) {
    inner[i] ^= shown[i];
    outer[i] ^= shown[i];
  }
  const Bytes first =
      Sha256().add(inner, 64).add(label.data(), label.size()).add(text.data(), text.size()).finish();
  return Sha256().add(outer, 64).add(first.data(), first.size()).finish();
}

/// Whether two macs are the same, in a time that does not tell where they differ.
inline bool same_mac(const uint8_t* one, size_t one_bytes, const Bytes& other) {
  if (one_bytes != other.size()) return false;
  uint8_t differences = 0;
  for (size_t i = 0; i < one_bytes; ++i) differences = static_cast<uint8_t>(differences | (one[i] ^ other[i]));
  return differences == 0;
}

}  // namespace rlay::detail
