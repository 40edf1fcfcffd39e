// Frames of a link to a bridge: header, limits, maps.

#pragma once

#include "digests.hpp"
#include "greeting.hpp"

namespace rlay::detail {

enum class FrameType : uint8_t {
  hello = 1, challenge = 2, proof = 3, welcome = 4, error = 5, ping = 6, pong = 7, drain = 8, bye = 9,
  announce = 16, announced = 17, withdraw = 18, reject = 19, find = 20, not_found = 21,
  open = 32, opened = 33, refused = 34, close = 35, resume = 36, resumed = 37, lost = 38, data = 39,
  taken = 40,
};

inline constexpr size_t frame_header_bytes = 64;
inline constexpr uint32_t max_body_bytes = 262144;
inline constexpr uint32_t max_control_bytes = 65536;
inline constexpr uint32_t max_link_greeting_bytes = 1024;
inline constexpr size_t opening_bytes = 16;
inline constexpr uint16_t frame_flag_crc = 1;
inline constexpr size_t min_token_bytes = 16;
inline constexpr size_t nonce_bytes = 32;

/// The header of a frame, as it lies in memory.
struct Frame {
  char magic[4] = {'R', 'L', 'F', 'R'};
  uint8_t version = 1;
  FrameType type = FrameType::ping;
  uint16_t flags = 0;
  uint32_t channel = 0;
  uint32_t body_bytes = 0;
  uint64_t incarnation = 0;
  uint64_t session = 0;
  uint32_t sequence = 0;
  uint32_t publication = 0;
  uint32_t offset = 0;
  uint32_t total = 0;
  uint32_t body_crc = 0;
  uint32_t reserved[2] = {0, 0};
  uint32_t header_crc = 0;

  bool is_last() const { return offset + body_bytes == total; }
};
static_assert(sizeof(Frame) == frame_header_bytes, "the header has no gaps");
static_assert(offsetof(Frame, sequence) == 32 && offsetof(Frame, header_crc) == 60, "as docs/spec/frames.md has it");

/// Fills in the checksum of a header; it is ready to be sent then.
inline void seal(Frame& frame) { frame.header_crc = crc32(reinterpret_cast<const uint8_t*>(&frame), 60); }

inline bool is_frame_type(uint8_t type) {
  return (type >= 1 && type <= 9) || (type >= 16 && type <= 21) || (type >= 32 && type <= 40);
}

/// Checks a header before anything is awaited or any memory is taken for its body.
inline Status check_frame(const Frame& frame) {
  if (std::memcmp(frame.magic, "RLFR", 4) != 0) return protocol_error("what came is no frame");
  if (frame.header_crc != crc32(reinterpret_cast<const uint8_t*>(&frame), 60)) {
    return Status(Code::corrupt, "the header of a frame was damaged on its way");
  }
  if (frame.version != 1) return Status(Code::version, "a frame of another version came");
  const auto type = static_cast<uint8_t>(frame.type);
  if (!is_frame_type(type)) return protocol_error("a frame of an unknown type came");
  if (frame.flags & ~frame_flag_crc) return protocol_error("a frame with an unknown flag came");
  const bool is_data = frame.type == FrameType::data;
  const bool is_opening =
      frame.type == FrameType::open || frame.type == FrameType::opened || frame.type == FrameType::refused;
  if (is_data || is_opening) {
    const uint64_t front = is_data ? message_header_bytes : opening_bytes;
    const uint64_t most = front + (is_data ? max_slot_payload_bytes : max_greeting_bytes);
    if (frame.body_bytes > max_body_bytes || frame.total > most) {
      return Status(Code::too_large, "a frame exceeds its limit");
    }
    if (frame.total < front || frame.body_bytes < 1 ||
        static_cast<uint64_t>(frame.offset) + frame.body_bytes > frame.total) {
      return protocol_error("the lengths of a frame do not fit");
    }
    return Status();
  }
  const uint32_t most = type <= 5 ? max_link_greeting_bytes : max_control_bytes;
  if (frame.body_bytes > most) return Status(Code::too_large, "a frame exceeds its limit");
  if (frame.offset != 0 || frame.total != frame.body_bytes) {
    return protocol_error("the lengths of a frame do not fit");
  }
  return Status();
}

inline Bytes pack_map(const Value& map) {
  Bytes out;
  (void)ValueEncoder(out).encode(map);  // plain data of ours can always be written
  return out;
}

/// Reads the map of a control frame: plain data, nested at most four deep.
inline Status unpack_map(const uint8_t* data, size_t size, Value& map) {
  // Depth 28 of 32 leaves four levels.
  if (Status status = ValueDecoder(data, size).whole(map, max_depth - 4); !status) return status;
  return map.is_map() ? Status() : protocol_error("a map was expected");
}

/// An ending: LOST or CLOSED, and why.
struct Ending {
  EndState state = EndState::closed;
  Reason reason = Reason::closed;

  Bytes pack() const {
    const uint32_t words[2] = {static_cast<uint32_t>(state), static_cast<uint32_t>(reason)};
    Bytes out(8);
    std::memcpy(out.data(), words, 8);
    return out;
  }
  static Status unpack(const uint8_t* data, size_t size, Ending& ending) {
    uint32_t words[2];
    if (size != 8) return protocol_error("an ending is malformed");
    std::memcpy(words, data, 8);
    if (words[0] != 3 && words[0] != 4) return protocol_error("an ending ends nothing");
    ending.state = static_cast<EndState>(words[0]);
    ending.reason = words[1] <= 7 ? static_cast<Reason>(words[1]) : Reason::closed;
    return Status();
  }
};

/// The error that a note tells of.
inline Status note_error(const uint8_t* data, size_t size) {
  Value map;
  if (Status status = unpack_map(data, size, map); !status) return status;
  Fields fields(map);
  const auto code = static_cast<uint32_t>(fields.count("code", UINT32_MAX, 1));
  const std::string text = fields.get("message", Value::Kind::text).text();
  if (Status status = fields.status(); !status) return status;
  return Status(static_cast<Code>(code), shortened(text, 900));
}

/// The greeting of a link from the dialer's side.
struct LinkGreeting {
  uint64_t id = 0;
  std::string machine;
  std::string program = software;
  bool crc = false;
  Bytes nonce;
  Bytes token;

  Bytes hello;      // bodies, as they were sent
  Bytes challenge;

  // What the listener said.
  bool has_crc = false;
  int64_t heartbeat_ms = 2000;
  int64_t dead_after_ms = 10000;
  int64_t resume_window_ms = 300000;

  const Bytes& write_hello() {
    Value map = Value::map();
    map.set("versions", Value::list({1, 1}));
    map.set("role", "peer");
    map.set("id", id);
    map.set("machine", machine);
    map.set("software", program);
    map.set("capabilities", 0);
    map.set("nonce", Value::bytes(nonce.data(), nonce.size()));
    map.set("crc", crc);
    return hello = pack_map(map);
  }
  /// Reads the CHALLENGE and writes the PROOF.
  Status answer(const uint8_t* data, size_t size, Bytes& proof) {
    challenge.assign(data, data + size);
    Value map;
    if (Status status = unpack_map(data, size, map); !status) return status;
    Fields fields(map);
    const uint64_t version = fields.count("version", UINT32_MAX);
    const Value theirs = fields.get("nonce", Value::Kind::bytes);
    const bool asks = fields.get("token", Value::Kind::boolean).boolean();
    if (Status status = fields.status(); !status) return status;
    if (version != 1) {
      return Status(Code::version, "the bridge speaks version " + std::to_string(version) +
                                       " of links, this end version 1: upgrade the older end");
    }
    if (theirs.raw_bytes() != nonce_bytes) return protocol_error("a nonce is malformed");
    if (asks && token.empty()) {
      return Status(Code::auth, "the bridge asks for a token: name its file with RLAY_TOKEN_FILE");
    }
    if (!asks && !token.empty()) {
      return Status(Code::auth, "the bridge has no token and cannot prove who it is: give it the same "
                                "token file, or take this end's away");
    }
    const Bytes mac = mac_of("rlay1 dialer");
    Value answer = Value::map();
    answer.set("mac", Value::bytes(mac.data(), mac.size()));
    proof = pack_map(answer);
    return Status();
  }
  /// Reads the WELCOME.
  Status finish(const uint8_t* data, size_t size) {
    Value map;
    if (Status status = unpack_map(data, size, map); !status) return status;
    Fields fields(map);
    const Value mac = fields.get("mac", Value::Kind::bytes);
    has_crc = fields.get("crc", Value::Kind::boolean).boolean();
    heartbeat_ms = static_cast<int64_t>(fields.count("heartbeat_ms", INT32_MAX, 1));
    dead_after_ms = static_cast<int64_t>(fields.count("dead_after_ms", INT32_MAX, 1));
    resume_window_ms = static_cast<int64_t>(fields.count("resume_window_ms", INT64_MAX / 1000000));
    if (Status status = fields.status(); !status) return status;
    if (!same_mac(mac.raw(), mac.raw_bytes(), mac_of("rlay1 listener"))) {
      return Status(Code::auth, "the bridge does not know the token: compare the files of both ends");
    }
    return Status();
  }

 private:
  Bytes mac_of(std::string_view label) const {
    if (token.empty()) return Bytes();
    Sha256 transcript;
    for (const Bytes* body : {&hello, &challenge}) {
      const auto length = static_cast<uint32_t>(body->size());
      transcript.add(&length, 4).add(body->data(), body->size());
    }
    return hmac(token, label, transcript.finish());
  }
};

}  // namespace rlay::detail
