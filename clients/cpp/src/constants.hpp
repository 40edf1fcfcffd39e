// Numbers on which all implementations agree; docs/spec is the normative text.

#pragma once

#include "platform.hpp"

namespace rlay {

inline constexpr const char* software = "rlay-cpp 1.0";

namespace detail {

inline constexpr uint32_t protocol_version = 1;
inline constexpr uint32_t protocol_minor = 0;

// Sizes of the mapped files, in bytes.
inline constexpr uint32_t header_bytes = 4096;
inline constexpr uint32_t greeting_slot_bytes = 65536;
inline constexpr size_t header_file_bytes = 4096 + 2 * 65536;
inline constexpr size_t slots_header_bytes = 4096;
inline constexpr size_t slot_control_bytes = 256;
inline constexpr size_t message_header_bytes = 64;
inline constexpr size_t payload_alignment = 64;
inline constexpr uint32_t greeting_capacity = (65536 - 256) / 2 - 64;

// Limits; what a peer says is held against them before memory is taken.
inline constexpr size_t max_name_length = 64;
inline constexpr int max_depth = 32;
inline constexpr size_t max_dimensions = 32;
inline constexpr int64_t max_items = 2147483647;
inline constexpr size_t max_big_int_bytes = 1024;
inline constexpr uint32_t max_num_envs = 65536;
inline constexpr uint64_t max_greeting_bytes = 67108864;
inline constexpr uint64_t max_slot_payload_bytes = 1073741824;
inline constexpr uint64_t default_max_message_bytes = 1073741824;
inline constexpr uint64_t tail_room_bytes = 65536;
inline constexpr size_t max_remote_type_bytes = 200;
inline constexpr size_t max_remote_message_bytes = 8192;
inline constexpr size_t max_remote_traceback_bytes = 65536;

enum class Paradigm : uint32_t { client_env = 1, server_env = 2 };

enum class EndState : uint32_t { absent = 0, alive = 1, link_down = 2, lost = 3, closed = 4 };

enum class Holder : uint32_t { nobody = 0, process = 1, bridge = 2 };

enum class Bell : uint32_t { poll = 0, futex = 1, fifo = 2 };

inline constexpr uint32_t capability_futex = 1;
inline constexpr uint32_t capability_fifo = 2;
inline constexpr uint32_t capability_records = 4;

enum class MessageKind : uint32_t {
  reset = 1,
  step = 2,
  call = 3,
  close = 4,
  ready = 16,
  reset_result = 17,
  transition = 18,
  call_result = 19,
  failure = 20,
  hello = 32,
  welcome = 33,
  refusal = 34,
};

inline constexpr uint32_t kind_mask = 0xFF;
inline constexpr uint32_t flag_fixed = 1U << 8;
inline constexpr uint32_t flag_tail = 1U << 9;
inline constexpr uint32_t flag_record = 1U << 10;
inline constexpr uint32_t flag_terminated = 1U << 11;
inline constexpr uint32_t flag_truncated = 1U << 12;
inline constexpr uint32_t flag_numpy_terminated = 1U << 13;
inline constexpr uint32_t flag_numpy_truncated = 1U << 14;

}  // namespace detail

/// Why an end is closed or lost.
enum class Reason : uint32_t {
  none = 0,
  closed = 1,
  draining = 2,
  environment_exited = 3,
  protocol_error = 4,
  replaced = 5,
  vanished = 6,
  link_down = 7,
};

}  // namespace rlay
