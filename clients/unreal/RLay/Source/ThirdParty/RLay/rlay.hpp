// The single header of RLay for C++17, made from src/ by amalgamate.py: change those.
//
// SPDX-License-Identifier: MIT

// RLay for C++17: an environment in C++, its algorithm in Python, in another process or on
// another machine.
//
//   rlay::serve(environment)       answers a ClientEnv: reset and step are callbacks
//   rlay::Backend                  asks a ServerEnv: a loop of your own calls decide()
//   rlay::Env                      the algorithm's end: steps an environment elsewhere
//
// No dependency but the system's own libraries, no exceptions, no RTTI, no thread. Errors
// are values of rlay::Status, with a code and a text. Where memory cannot be had the
// program ends, as the standard containers do without exceptions.
//
// The protocol is that of docs/spec. Read in this order: value, space, messages, reports,
// decisions; slots, mapped; serve, backend.

#pragma once

//----------------------------------- attaching.hpp ------------------------------------
// Which kind of end a name leads to: mapped memory, or a bridge's address.

//------------------------------------ backend.hpp -------------------------------------
// A game that owns its loop and asks for decisions: the other end of a ServerEnv.

//------------------------------------- search.hpp -------------------------------------
// A client's search for its server: a channel that is free, and an answer to HELLO.

//------------------------------------ delivery.hpp ------------------------------------
// At most once, and the reply that belongs to the request: the tables of session.md.

//------------------------------------ platform.hpp ------------------------------------
// What the system and the compiler must offer.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <winsock2.h>
#include <ws2tcpip.h>
#define RLAY_MAPPED_FILES 0
#else
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#define RLAY_MAPPED_FILES 1
#endif

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#define RLAY_FUTEX 1
#else
#define RLAY_FUTEX 0
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "RLay's memory is little-endian; a big-endian client would have to swap everything"
#endif
#if __cplusplus < 201703L && !(defined(_MSVC_LANG) && _MSVC_LANG >= 201703L)
#error "rlay.hpp needs C++17"
#endif

namespace rlay {

static_assert(sizeof(std::atomic<uint32_t>) == 4, "mapped words are plain 32-bit words");
static_assert(std::atomic<uint32_t>::is_always_lock_free, "mapped words need no lock");
static_assert(std::numeric_limits<double>::is_iec559, "floats are IEEE 754");

}  // namespace rlay

namespace rlay::detail {

/// Where each session's sequences begin. Tests of the wrap-around begin late; anybody else
/// must leave it at 1.
inline uint32_t first_sequence = 1;

inline uint32_t next_sequence(uint32_t sequence) { return sequence + 1 ? sequence + 1 : 1; }

enum class Order : uint8_t { older, same, next, gap };

/// How a message's sequence stands to the last one; 0 is no sequence.
inline Order order_of(uint32_t last, uint32_t sequence) {
  if (sequence == 0) return Order::gap;
  if (sequence == last) return Order::same;
  if (sequence == next_sequence(last)) return Order::next;
  return (sequence - last) & 0x80000000U ? Order::older : Order::gap;
}

/// The asking end's half of delivery.
class Requester {
 public:
  enum class State : uint8_t { idle, waiting, late, over };
  enum class Outcome : uint8_t { accept, discard, drop, breach };

  State state() const { return state_; }
  uint32_t sequence() const { return sequence_; }

  /// Starts the next request; only where the state is idle.
  uint32_t begin() {
    state_ = State::waiting;
    return sequence_ = next_sequence(sequence_);
  }
  /// Undoes `begin`: nothing was published.
  void cancel() {
    if (state_ != State::waiting) return;
    state_ = State::idle;
    --sequence_;  // 0 stands before 1, also after a wrap
  }
  Outcome receive(uint32_t sequence) {
    const Order order = order_of(sequence_, sequence);
    if (state_ != State::over) {
      if (order == Order::same && state_ != State::idle) {
        const bool accepted = state_ == State::waiting;
        state_ = State::idle;
        return accepted ? Outcome::accept : Outcome::discard;
      }
      if (order == Order::older || (order == Order::same && sequence_)) return Outcome::drop;
    }
    state_ = State::over;
    return Outcome::breach;
  }
  /// Stops waiting; the reply will be discarded.
  void abandon() {
    if (state_ == State::waiting) state_ = State::late;
  }
  void lose() { state_ = State::over; }

 private:
  State state_ = State::idle;
  uint32_t sequence_ = first_sequence - 1;
};

/// The answering end's half of delivery.
class Responder {
 public:
  enum class State : uint8_t { ready, running, over };
  enum class Outcome : uint8_t { run, repeat, drop, breach };

  State state() const { return state_; }
  uint32_t sequence() const { return sequence_; }

  Outcome receive(uint32_t sequence) {
    const Order order = order_of(sequence_, sequence);
    if (state_ == State::ready && order == Order::next) {
      state_ = State::running;
      sequence_ = sequence;
      return Outcome::run;
    }
    if (state_ != State::over) {
      if (order == Order::older) return Outcome::drop;
      if (order == Order::same && sequence_) {
        return state_ == State::ready ? Outcome::repeat : Outcome::drop;
      }
    }
    state_ = State::over;
    return Outcome::breach;
  }
  void answer() { state_ = State::ready; }
  void lose() { state_ = State::over; }

 private:
  State state_ = State::ready;
  uint32_t sequence_ = first_sequence - 1;
};

}  // namespace rlay::detail

//---------------------------------- environment.hpp -----------------------------------
// What a C++ program says of its environment.

//------------------------------------ greeting.hpp ------------------------------------
// The greeting: what both ends say before a session begins.

//----------------------------------- decisions.hpp ------------------------------------
// What the algorithm's end says: reset, step, call, close.

//------------------------------------ reports.hpp -------------------------------------
// What the environment's end says: first observations, transitions, results, failures.

//------------------------------------ records.hpp -------------------------------------
// Infos of scalars whose keys and types do not change, compiled.

//------------------------------------ messages.hpp ------------------------------------
// The header of a message, its tail, and what both directions have in common.

//------------------------------------- layout.hpp -------------------------------------
// The fixed area: where each array and number of a message lies.

//------------------------------------- space.hpp --------------------------------------
// Gymnasium's spaces, built in code, and their descriptions on the wire.

//------------------------------------ decoding.hpp ------------------------------------
// Msgpack to values: every length is checked before it is used.

//------------------------------------ encoding.hpp ------------------------------------
// Values to msgpack.

//------------------------------------- value.hpp --------------------------------------
// Values of any type that the protocol knows.

//------------------------------------- status.hpp -------------------------------------
// What went wrong, and what to do about it. Nothing here throws.

//----------------------------------- constants.hpp ------------------------------------
// Numbers on which all implementations agree; docs/spec is the normative text.

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

namespace rlay {

/// What went wrong. Numbers below 0x8000 travel (docs/spec/errors.md); those above are
/// this library's own.
enum class Code : uint32_t {
  ok = 0,
  environment = 1,
  space_mismatch = 2,
  unsendable_info = 3,
  not_allowed = 4,
  unsupported = 5,
  protocol = 6,
  version = 7,
  busy = 8,
  no_space = 9,
  too_large = 10,
  draining = 11,
  reset_needed = 12,
  num_envs = 13,
  environment_gone = 14,
  auth = 15,
  not_found = 16,
  slow_peer = 17,
  superseded = 18,
  corrupt = 19,

  timeout = 0x8001,           // the time that the caller allowed is over
  peer_closed = 0x8002,       // the other end said goodbye
  peer_lost = 0x8003,         // it is gone without a word
  link_down = 0x8004,         // the link to it was down for too long
  stopped = 0x8005,           // the caller's own stop flag is up
  misuse = 0x8006,            // a call that is not allowed now; nothing was sent
  permission = 0x8007,        // files or directories are not this user's alone
  system = 0x8008,            // the operating system refused something
};

/// The outcome of an operation: a code, and a text with the facts and the remedy.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  /// An error with the reason that the other end gave.
  Status(Code code, std::string message, Reason reason)
      : code_(code), reason_(reason), message_(std::move(message)) {}

  /// An error of the environment; `type` stands for an exception's class, for people.
  static Status environment(std::string message, std::string type = "Error") {
    Status status(Code::environment, std::move(message));
    status.type_ = std::move(type);
    return status;
  }

  bool ok() const { return code_ == Code::ok; }
  explicit operator bool() const { return ok(); }
  Code code() const { return code_; }
  Reason reason() const { return reason_; }
  const std::string& message() const { return message_; }
  /// The class of a remote exception, and its traceback; empty elsewhere.
  const std::string& type() const { return type_; }
  const std::string& traceback() const { return traceback_; }

  Status with_remote(std::string type, std::string traceback) && {
    type_ = std::move(type);
    traceback_ = std::move(traceback);
    return std::move(*this);
  }

 private:
  Code code_ = Code::ok;
  Reason reason_ = Reason::none;
  std::string message_;
  std::string type_;
  std::string traceback_;
};

/// A value, or why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                 // NOLINT: meant to convert
  Result(Status status) : status_(std::move(status)) {}         // NOLINT: meant to convert

  bool ok() const { return status_.ok(); }
  explicit operator bool() const { return ok(); }
  const Status& status() const { return status_; }
  /// The value; of no meaning where `ok()` is false.
  T& value() { return value_; }
  const T& value() const { return value_; }

 private:
  Status status_;
  T value_{};
};

namespace detail {

/// `text` cut to `limit` bytes, between two characters of UTF-8.
inline std::string shortened(std::string text, size_t limit) {
  if (text.size() <= limit) return text;
  size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  text.resize(end);
  return text;
}

inline std::string system_text(int error) {
  const std::string text = std::strerror(error);
  return text + " (errno " + std::to_string(error) + ")";
}

inline Status protocol_error(std::string message) {
  return Status(Code::protocol, std::move(message));
}

inline std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

}  // namespace detail

}  // namespace rlay

namespace rlay {

/// Element types of arrays, with their numbers on the wire.
enum class DType : uint8_t {
  none = 0,
  boolean = 1,
  int8 = 2,
  uint8 = 3,
  int16 = 4,
  uint16 = 5,
  int32 = 6,
  uint32 = 7,
  int64 = 8,
  uint64 = 9,
  float16 = 10,
  float32 = 11,
  float64 = 12,
  complex64 = 13,
  complex128 = 14,
};

using Shape = std::vector<int64_t>;

/// Bytes of one element; 0 for a number that is no dtype.
inline size_t item_bytes(DType dtype) {
  constexpr size_t sizes[] = {0, 1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8, 8, 16};
  const auto index = static_cast<size_t>(dtype);
  return index < sizeof sizes / sizeof *sizes ? sizes[index] : 0;
}

inline const char* name_of(DType dtype) {
  constexpr const char* names[] = {"none",   "bool",   "int8",    "uint8",   "int16",
                                   "uint16", "int32",  "uint32",  "int64",   "uint64",
                                   "float16", "float32", "float64", "complex64", "complex128"};
  const auto index = static_cast<size_t>(dtype);
  return index < sizeof names / sizeof *names ? names[index] : "unknown";
}

inline std::string text_of(const Shape& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i ? ", " : "") + std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

namespace detail {

template <class T>
struct DTypeOf;
template <> struct DTypeOf<bool> { static constexpr DType value = DType::boolean; };
template <> struct DTypeOf<int8_t> { static constexpr DType value = DType::int8; };
template <> struct DTypeOf<uint8_t> { static constexpr DType value = DType::uint8; };
template <> struct DTypeOf<int16_t> { static constexpr DType value = DType::int16; };
template <> struct DTypeOf<uint16_t> { static constexpr DType value = DType::uint16; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::int32; };
template <> struct DTypeOf<uint32_t> { static constexpr DType value = DType::uint32; };
template <> struct DTypeOf<int64_t> { static constexpr DType value = DType::int64; };
template <> struct DTypeOf<uint64_t> { static constexpr DType value = DType::uint64; };
template <> struct DTypeOf<float> { static constexpr DType value = DType::float32; };
template <> struct DTypeOf<double> { static constexpr DType value = DType::float64; };

/// Number of elements of a shape, or -1 where a size or the number is not allowed.
inline int64_t item_count(const Shape& shape) {
  if (shape.size() > max_dimensions) return -1;
  bool empty = false;
  for (const int64_t size : shape) {
    if (size < 0 || size > max_items) return -1;
    empty = empty || size == 0;
  }
  if (empty) return 0;
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (count > max_items / size) return -1;
    count *= size;
  }
  return count;
}

}  // namespace detail

/// Any value that travels: nil, bool, integer, float, text, bytes, list, map, tuple,
/// array, NumPy scalar, object array, graph, or an integer beyond 64 bits.
///
/// A value owns what it holds; to copy it copies all of it. To assign to a value of the
/// same form (an array of the same size, say) takes no new memory.
class Value {
 public:
  enum class Kind : uint8_t {
    nil, boolean, integer, natural, real, text, bytes, list, map, tuple, array, scalar,
    object_array, graph, big_integer,
  };

  Value() = default;
  Value(std::nullptr_t) {}                                                       // NOLINT
  template <class T, std::enable_if_t<std::is_same_v<T, bool>, int> = 0>
  Value(T value) : kind_(Kind::boolean) { word_.natural = value ? 1 : 0; }       // NOLINT
  Value(double value) : kind_(Kind::real) { word_.real = value; }                // NOLINT
  Value(float value) : Value(static_cast<double>(value)) {}                      // NOLINT
  template <class T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>, int> = 0>
  Value(T value) {                                                               // NOLINT
    if constexpr (std::is_unsigned_v<T> && sizeof(T) == 8) {
      set_natural(value);
    } else {
      kind_ = Kind::integer;
      word_.integer = static_cast<int64_t>(value);
    }
  }
  Value(const char* text) : Value(std::string(text)) {}                          // NOLINT
  Value(std::string text) : kind_(Kind::text) { rich().text = std::move(text); } // NOLINT

  Value(const Value& other) { *this = other; }
  Value(Value&& other) noexcept { *this = std::move(other); }
  Value& operator=(const Value& other) {
    if (this == &other) return *this;
    kind_ = other.kind_;
    dtype_ = other.dtype_;
    word_ = other.word_;
    if (other.rich_) {
      rich() = *other.rich_;
    } else if (rich_) {
      rich_->clear();
    }
    return *this;
  }
  Value& operator=(Value&& other) noexcept {
    if (this == &other) return *this;
    kind_ = other.kind_;
    dtype_ = other.dtype_;
    word_ = other.word_;
    rich_ = std::move(other.rich_);
    other.kind_ = Kind::nil;
    other.dtype_ = DType::none;
    return *this;
  }
  ~Value() = default;

  // ------------------------------------------------------------------- builders

  static Value text(std::string text) { return Value(std::move(text)); }
  static Value bytes(const void* data, size_t size) {
    Value value;
    value.kind_ = Kind::bytes;
    const auto* first = static_cast<const uint8_t*>(data);
    value.rich().data.assign(first, first + size);
    return value;
  }
  static Value list(std::vector<Value> items = {}) {
    return with_items(Kind::list, std::move(items));
  }
  static Value tuple(std::vector<Value> items) {
    return with_items(Kind::tuple, std::move(items));
  }
  static Value map() {
    Value value;
    value.kind_ = Kind::map;
    return value;
  }
  static Value map(std::initializer_list<std::pair<const char*, Value>> items) {
    Value value = map();
    for (const auto& item : items) value.set(item.first, item.second);
    return value;
  }
  /// An array of zeros.
  static Value array(DType dtype, Shape shape) {
    Value value;
    value.become_array(dtype, shape);
    return value;
  }
  /// An array of zeros of T.
  template <class T>
  static Value array(Shape shape) {
    return array(detail::DTypeOf<T>::value, std::move(shape));
  }
  /// An array of one dimension.
  template <class T>
  static Value array(std::initializer_list<T> items) {
    Value value = array<T>(Shape{static_cast<int64_t>(items.size())});
    if (items.size()) std::memcpy(value.raw(), items.begin(), items.size() * sizeof(T));
    return value;
  }
  /// A NumPy scalar: what `numpy.float32(1)` is to an algorithm in Python.
  template <class T>
  static Value scalar(T number) {
    Value value;
    value.become_scalar(detail::DTypeOf<T>::value, &number);
    return value;
  }
  static Value object_array(Shape shape, std::vector<Value> items) {
    Value value = with_items(Kind::object_array, std::move(items));
    value.rich().shape = std::move(shape);
    return value;
  }
  /// A graph: nodes, edges or nil, edge_links or nil.
  static Value graph(Value nodes, Value edges, Value edge_links) {
    std::vector<Value> items;
    items.reserve(3);
    items.push_back(std::move(nodes));
    items.push_back(std::move(edges));
    items.push_back(std::move(edge_links));
    return with_items(Kind::graph, std::move(items));
  }
  /// An integer beyond 64 bits: signed, little-endian. Only a seed may be one.
  static Value big_integer(std::vector<uint8_t> little_endian) {
    Value value;
    value.kind_ = Kind::big_integer;
    value.rich().data = std::move(little_endian);
    return value;
  }

  // ------------------------------------------------------------------ questions

  Kind kind() const { return kind_; }
  bool is_nil() const { return kind_ == Kind::nil; }
  bool is_map() const { return kind_ == Kind::map; }
  bool is_array() const { return kind_ == Kind::array; }
  bool is_text() const { return kind_ == Kind::text; }
  /// Whether it has items: a list, tuple, object array or graph.
  bool is_sequence() const {
    return kind_ == Kind::list || kind_ == Kind::tuple || kind_ == Kind::object_array ||
           kind_ == Kind::graph;
  }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return rich_ ? rich_->shape : empty().shape; }

  /// The number as an integer: of a bool, integer, whole float, scalar of those, or array
  /// of one element; else `otherwise`.
  int64_t integer(int64_t otherwise = 0) const {
    switch (kind_) {
      case Kind::boolean:
      case Kind::integer: return word_.integer;
      case Kind::natural: return otherwise;
      case Kind::real: return whole(word_.real, otherwise);
      case Kind::scalar: return element_integer(scalar_data(), otherwise);
      case Kind::array: return count() == 1 ? element_integer(raw(), otherwise) : otherwise;
      default: return otherwise;
    }
  }
  /// The number as a float, likewise.
  double real(double otherwise = 0) const {
    switch (kind_) {
      case Kind::boolean:
      case Kind::integer: return static_cast<double>(word_.integer);
      case Kind::natural: return static_cast<double>(word_.natural);
      case Kind::real: return word_.real;
      case Kind::scalar: return element_real(scalar_data(), otherwise);
      case Kind::array: return count() == 1 ? element_real(raw(), otherwise) : otherwise;
      default: return otherwise;
    }
  }
  /// Whether it is true, as Python judges numbers; false for anything else.
  bool boolean() const { return real(0) != 0; }
  /// The integer without a sign, where it is beyond the signed ones.
  uint64_t natural() const {
    return kind_ == Kind::natural ? word_.natural : static_cast<uint64_t>(integer());
  }

  /// Text, or the empty text where it is none.
  const std::string& text() const { return rich_ ? rich_->text : empty().text; }

  /// Elements of an array as T's, or nullptr where its dtype is another.
  template <class T>
  T* data() {
    return kind_ == Kind::array && dtype_ == detail::DTypeOf<T>::value
               ? reinterpret_cast<T*>(rich_->data.data())
               : nullptr;
  }
  template <class T>
  const T* data() const {
    return const_cast<Value*>(this)->data<T>();
  }
  /// Bytes of an array, of bytes, or of an integer beyond 64 bits; in C order.
  uint8_t* raw() { return rich_ ? rich_->data.data() : nullptr; }
  const uint8_t* raw() const { return rich_ ? rich_->data.data() : nullptr; }
  size_t raw_bytes() const { return rich_ ? rich_->data.size() : 0; }
  /// Number of an array's elements.
  int64_t count() const { return kind_ == Kind::array ? detail::item_count(shape()) : 0; }

  /// Items of a list, map, tuple, object array or graph.
  size_t size() const { return rich_ ? rich_->items.size() : 0; }
  Value& operator[](size_t index) { return rich_->items[index]; }
  const Value& operator[](size_t index) const { return rich_->items[index]; }
  Value& operator[](int index) { return rich_->items[static_cast<size_t>(index)]; }
  const Value& operator[](int index) const { return rich_->items[static_cast<size_t>(index)]; }
  const std::string& key(size_t index) const { return rich_->keys[index]; }
  void push_back(Value item) { rich().items.push_back(std::move(item)); }

  /// The item of a key in a map, or nullptr.
  Value* find(std::string_view key) {
    if (kind_ != Kind::map || !rich_) return nullptr;
    for (size_t i = 0; i < rich_->keys.size(); ++i) {
      if (rich_->keys[i] == key) return &rich_->items[i];
    }
    return nullptr;
  }
  const Value* find(std::string_view key) const { return const_cast<Value*>(this)->find(key); }
  /// The item of a key in a map, made where it is missing. What was no map becomes one.
  Value& operator[](const char* key) {
    if (kind_ != Kind::map) *this = map();
    if (Value* found = find(key)) return *found;
    rich().keys.emplace_back(key);
    rich_->items.emplace_back();
    return rich_->items.back();
  }
  void set(const char* key, Value item) { (*this)[key] = std::move(item); }

  /// Bit by bit the same, types included.
  friend bool operator==(const Value& a, const Value& b) {
    if (a.kind_ != b.kind_ || a.dtype_ != b.dtype_) return false;
    if (a.kind_ <= Kind::real && std::memcmp(&a.word_, &b.word_, sizeof a.word_) != 0) return false;
    const Rich& one = a.rich_ ? *a.rich_ : empty();
    const Rich& other = b.rich_ ? *b.rich_ : empty();
    return one.text == other.text && one.data == other.data && one.shape == other.shape &&
           one.keys == other.keys && one.items == other.items;
  }
  friend bool operator!=(const Value& a, const Value& b) { return !(a == b); }

  // --------------------------------------------------- for the parts of this library

  void become_nil() { reset(Kind::nil); }
  void become_text(std::string_view text) {
    reset(Kind::text);
    rich().text.assign(text);
  }
  void become_bytes(const uint8_t* data, size_t size) {
    reset(Kind::bytes);
    rich().data.assign(data, data + size);
  }
  /// An array of zeros. A shape that is not allowed makes an empty array of shape (0,).
  void become_array(DType dtype, const Shape& shape) {
    const int64_t items = detail::item_count(shape);
    if (kind_ != Kind::array) reset(Kind::array);
    dtype_ = dtype;
    rich().shape = items < 0 ? Shape{0} : shape;
    rich_->data.assign(items < 0 ? 0 : static_cast<size_t>(items) * item_bytes(dtype), 0);
  }
  /// An array of these bytes, in C order, as many as dtype and shape ask for.
  void become_array(DType dtype, const Shape& shape, const uint8_t* data, size_t size) {
    if (kind_ != Kind::array) reset(Kind::array);
    dtype_ = dtype;
    if (rich().shape != shape) rich_->shape = shape;
    rich_->data.assign(data, data + size);
  }
  /// A NumPy scalar of the dtype, from its bytes.
  void become_scalar(DType dtype, const void* data) {
    reset(Kind::scalar);
    dtype_ = dtype;
    const size_t size = item_bytes(dtype);
    word_.natural = 0;
    std::memcpy(&word_, data, size < 8 ? size : 8);
    if (size > 8) {
      const auto* first = static_cast<const uint8_t*>(data);
      rich().data.assign(first, first + size);
    }
  }
  void become_items(Kind kind) { reset(kind); }
  std::vector<Value>& items() { return rich().items; }
  const std::vector<Value>& items() const { return rich_ ? rich_->items : empty().items; }
  std::vector<std::string>& keys() { return rich().keys; }
  const std::vector<std::string>& keys() const { return rich_ ? rich_->keys : empty().keys; }
  void set_shape(Shape shape) { rich().shape = std::move(shape); }
  const uint8_t* scalar_data() const {
    return item_bytes(dtype_) > 8 ? raw() : reinterpret_cast<const uint8_t*>(&word_);
  }

 private:
  union Word {
    int64_t integer;
    uint64_t natural;
    double real;
  };

  // What few values have; apart, so that a list of a million numbers stays small.
  struct Rich {
    std::string text;
    std::vector<uint8_t> data;
    Shape shape;
    std::vector<Value> items;
    std::vector<std::string> keys;

    void clear() {
      text.clear();
      data.clear();
      shape.clear();
      items.clear();
      keys.clear();
    }
  };

  static const Rich& empty() {
    static const Rich none;
    return none;
  }
  static Value with_items(Kind kind, std::vector<Value> items) {
    Value value;
    value.kind_ = kind;
    value.rich().items = std::move(items);
    return value;
  }
  Rich& rich() {
    if (!rich_) rich_ = std::make_unique<Rich>();
    return *rich_;
  }
  void reset(Kind kind) {
    kind_ = kind;
    dtype_ = DType::none;
    word_.natural = 0;
    if (rich_) rich_->clear();
  }
  void set_natural(uint64_t value) {
    kind_ = value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ? Kind::natural
                                                                               : Kind::integer;
    word_.natural = value;
  }
  static int64_t whole(double real, int64_t otherwise) {
    return real >= -9223372036854775808.0 && real < 9223372036854775808.0 && std::floor(real) == real
               ? static_cast<int64_t>(real)
               : otherwise;
  }
  template <class T>
  static T load(const uint8_t* data) {
    T number;
    std::memcpy(&number, data, sizeof number);
    return number;
  }
  int64_t element_integer(const uint8_t* data, int64_t otherwise) const {
    switch (dtype_) {
      case DType::boolean:
      case DType::uint8: return *data;
      case DType::int8: return load<int8_t>(data);
      case DType::int16: return load<int16_t>(data);
      case DType::uint16: return load<uint16_t>(data);
      case DType::int32: return load<int32_t>(data);
      case DType::uint32: return load<uint32_t>(data);
      case DType::int64: return load<int64_t>(data);
      case DType::uint64: {
        const auto number = load<uint64_t>(data);
        return number > static_cast<uint64_t>(INT64_MAX) ? otherwise : static_cast<int64_t>(number);
      }
      case DType::float32:
      case DType::float64: return whole(element_real(data, 0.5), otherwise);
      default: return otherwise;
    }
  }
  double element_real(const uint8_t* data, double otherwise) const {
    switch (dtype_) {
      case DType::float32: return static_cast<double>(load<float>(data));
      case DType::float64: return load<double>(data);
      case DType::int64: return static_cast<double>(load<int64_t>(data));
      case DType::uint64: return static_cast<double>(load<uint64_t>(data));
      case DType::none:
      case DType::float16:
      case DType::complex64:
      case DType::complex128: return otherwise;
      default: return static_cast<double>(element_integer(data, 0));
    }
  }

  Kind kind_ = Kind::nil;
  DType dtype_ = DType::none;
  Word word_{0};
  std::unique_ptr<Rich> rich_;
};

}  // namespace rlay

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

namespace rlay::detail {

// The header of a message: its fields, as they lie in memory.
struct MessageHeader {
  uint32_t kind = 0;  // and flags
  uint32_t sequence = 0;
  uint64_t incarnation = 0;
  uint64_t session = 0;
  uint32_t payload_bytes = 0;
  uint32_t part = 0;
  uint32_t parts = 1;
  uint32_t reward_type = 0;
  uint8_t reward[8] = {};
  uint64_t total_bytes = 0;
  uint64_t reserved = 0;
};
static_assert(sizeof(MessageHeader) == message_header_bytes, "the header has no gaps");
static_assert(offsetof(MessageHeader, payload_bytes) == 24 && offsetof(MessageHeader, reward) == 40,
              "as docs/spec/messages.md has it");

/// A message that came: whole, its header checked against its payload.
struct Message {
  MessageHeader header;
  const uint8_t* payload = nullptr;
  size_t size = 0;

  uint32_t word() const { return header.kind; }
  MessageKind kind() const { return static_cast<MessageKind>(header.kind & kind_mask); }
  bool has(uint32_t flag) const { return (header.kind & flag) != 0; }
};

/// A message that goes out: its head, and where its payload is.
///
/// The payload is written straight into the slot where it fits, and into `overflow` where
/// it must go in parts.
struct Draft {
  uint8_t* room = nullptr;
  size_t capacity = 0;

  uint32_t word = 0;
  uint32_t reward_type = 0;
  uint8_t reward[8] = {};
  size_t size = 0;
  Bytes overflow;  // not empty: the whole payload, larger than the slot
  Bytes tail;      // kept between messages, for its memory

  void begin(MessageKind kind, uint8_t* where, size_t bytes) {
    room = where;
    capacity = bytes;
    word = static_cast<uint32_t>(kind);
    reward_type = 0;
    std::memset(reward, 0, sizeof reward);
    size = 0;
    overflow.clear();
    tail.clear();
  }
  /// Puts the tail behind what is there already.
  void append(const Bytes& behind) {
    const size_t total = size + behind.size();
    if (total <= capacity) {
      if (!behind.empty()) std::memcpy(room + size, behind.data(), behind.size());
    } else {
      overflow.reserve(total);
      overflow.assign(room, room + size);
      overflow.insert(overflow.end(), behind.begin(), behind.end());
    }
    size = total;
  }
};

/// What both ends of a session agreed upon.
struct Agreement {
  Space observation_space;
  Space action_space;
  Batch batch;
  Layout reports;
  Layout decisions;

  static Result<Agreement> compile(const Space& observation, const Space& action, Batch batch) {
    auto reports = compile_layout(observation, batch, true);
    if (!reports) return reports.status();
    auto decisions = compile_layout(action, batch, false);
    if (!decisions) return decisions.status();
    Agreement agreement;
    agreement.observation_space = observation;
    agreement.action_space = action;
    agreement.batch = batch;
    agreement.reports = std::move(reports.value());
    agreement.decisions = std::move(decisions.value());
    return agreement;
  }
  /// Room that a slot should have for messages of a fixed area.
  static uint32_t capacity(const Layout& layout) {
    const uint64_t wanted = aligned(layout.bytes + tail_room_bytes, payload_alignment);
    return static_cast<uint32_t>(std::min(wanted, max_slot_payload_bytes));
  }
};

/// Reads the tail of a message, as its kind demands it.
inline Status read_tail(const Message& message, size_t fixed_bytes, MessageKind kind, size_t items,
                        Value& tail) {
  if (message.kind() != kind) return protocol_error("a message of an unexpected kind came");
  if (!message.has(flag_tail)) return protocol_error("a message has no tail");
  const size_t start = message.has(flag_fixed) ? fixed_bytes : 0;
  if (message.size < start) return protocol_error("a message is shorter than its fixed area");
  ValueDecoder decoder(message.payload + start, message.size - start, kind == MessageKind::reset);
  if (Status status = decoder.whole(tail); !status) return status;
  if (tail.kind() != Value::Kind::list || tail.size() < items) {
    return protocol_error("the tail of a message is malformed");
  }
  return Status();
}

/// The value of an item in an array of one; false where it is no such array.
inline bool unboxed(Value& item, Value& value) {
  if (item.kind() != Value::Kind::list || item.size() != 1) return false;
  Value inner = std::move(item[0]);
  value = std::move(inner);
  return true;
}

inline Value boxed(const Value& value) { return Value::list({value}); }

/// The element of a message with a fixed area, without or with a tail of variable parts.
inline Status load_element(const Message& message, const Layout& layout, const Space& space,
                           Value* variable, Value& element) {
  if (message.size < layout.bytes) {
    return protocol_error("a message is shorter than its fixed area");
  }
  if (!message.has(flag_tail | flag_record) && message.size != layout.bytes) {
    return protocol_error("a message of " + std::to_string(message.size) +
                          " bytes in place of a fixed area of " + std::to_string(layout.bytes));
  }
  Value none = Value::list();
  if (variable && variable->is_nil()) variable = &none;
  if (variable && variable->kind() != Value::Kind::list) {
    return protocol_error("the variable parts of a message are malformed");
  }
  AreaReader reader(layout, message.payload, variable);
  return reader.load(space, element);
}

/// One of the arrays behind a batch.
inline Status load_extra(const Message& message, const Layout& layout, size_t index, Value& value) {
  AreaReader reader(layout, message.payload, nullptr);
  if (reader.load_array(layout.leaves[layout.own_leaves + index], value)) return Status();
  return protocol_error(reader.problem());
}

}  // namespace rlay::detail

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

namespace rlay {

/// How an episode is to begin.
struct ResetRequest {
  Value seed;     // nil, an integer of any size, or in a batch a list of these
  Value options;  // nil or a map
  Value mask;     // nil, or in a batch an array of bool: which environments reset

  bool has_seed() const { return !seed.is_nil(); }
  /// The seed in 64 bits, for random number generators that take no more; where it is
  /// longer its 64-bit words are combined. `otherwise` where there is none.
  uint64_t seed_bits(uint64_t otherwise = 0) const {
    if (seed.kind() == Value::Kind::integer || seed.kind() == Value::Kind::natural) return seed.natural();
    if (seed.kind() != Value::Kind::big_integer) return otherwise;
    uint64_t bits = 0;
    for (size_t i = 0; i < seed.raw_bytes(); ++i) {
      bits ^= static_cast<uint64_t>(seed.raw()[i]) << (8 * (i % 8));
    }
    return bits;
  }
};

/// A call of an attribute or a method.
struct Call {
  enum class Operation : uint8_t { get = 0, call = 1, set = 2, render = 3 };

  Operation operation = Operation::get;
  std::string name;
  Value args = Value::list();
  Value kwargs = Value::map();
};

namespace detail {

/// Reads decisions of one session.
class DecisionReader {
 public:
  explicit DecisionReader(const Agreement& agreement) : agreement_(agreement) {}

  /// `mask`: nil, or an array of bool of those who reset instead.
  Status step(const Message& message, Value& action, Value& mask) const {
    const Layout& layout = agreement_.decisions;
    if (message.kind() != MessageKind::step) return protocol_error("no step came");
    mask.become_nil();
    if (message.has(flag_fixed)) {
      Value tail;
      if (layout.variable || message.has(flag_tail)) {
        if (Status status = read_tail(message, layout.bytes, MessageKind::step, 3, tail); !status) {
          return status;
        }
      }
      Value* variable = tail.is_nil() ? nullptr : &tail[0];
      if (Status status = load_element(message, layout, agreement_.action_space, variable, action);
          !status) {
        return status;
      }
      if (!agreement_.batch.vector) return Status();
      if (Status status = load_extra(message, layout, 0, mask); !status) return status;
    } else {
      Value tail;
      if (Status status = read_tail(message, 0, MessageKind::step, 3, tail); !status) return status;
      if (!unboxed(tail[1], action)) return protocol_error("a step has no action");
      if (tail[2].is_nil()) return Status();
      if (!unboxed(tail[2], mask) || !is_mask(mask)) return protocol_error("a reset mask is malformed");
    }
    for (size_t i = 0; i < mask.raw_bytes(); ++i) {
      if (mask.raw()[i]) return Status();
    }
    mask.become_nil();  // nobody resets
    return Status();
  }

  Status reset(const Message& message, ResetRequest& reset) const {
    Value tail;
    if (Status status = read_tail(message, 0, MessageKind::reset, 3, tail); !status) return status;
    reset.seed = std::move(tail[0]);
    reset.options = std::move(tail[1]);
    reset.mask = std::move(tail[2]);
    if (!reset.options.is_nil() && !reset.options.is_map()) {
      return protocol_error("the options of a reset are no map");
    }
    if (!is_seed(reset.seed) || (!reset.mask.is_nil() && !is_mask(reset.mask))) {
      return protocol_error("seed or mask of a reset is malformed");
    }
    return Status();
  }

  static Status call(const Message& message, Call& call) {
    Value tail;
    if (Status status = read_tail(message, 0, MessageKind::call, 4, tail); !status) return status;
    const int64_t operation = tail[0].kind() == Value::Kind::integer ? tail[0].integer() : -1;
    if (operation < 0 || operation > 3 || !tail[1].is_text() ||
        tail[2].kind() != Value::Kind::list || !tail[3].is_map()) {
      return protocol_error("a call is malformed");
    }
    call.operation = static_cast<Call::Operation>(operation);
    call.name = tail[1].text();
    call.args = std::move(tail[2]);
    call.kwargs = std::move(tail[3]);
    return Status();
  }

  /// A reason that is not known here is CLOSED.
  static Status close(const Message& message, Reason& reason) {
    Value tail;
    if (Status status = read_tail(message, 0, MessageKind::close, 1, tail); !status) return status;
    if (tail[0].kind() != Value::Kind::integer) return protocol_error("a reason is no integer");
    const int64_t number = tail[0].integer();
    reason = number >= 0 && number <= 7 ? static_cast<Reason>(number) : Reason::closed;
    return Status();
  }

 private:
  bool is_mask(const Value& mask) const {
    return mask.is_array() && mask.dtype() == DType::boolean &&
           mask.shape() == Shape{static_cast<int64_t>(agreement_.batch.num_envs)};
  }
  bool is_seed(const Value& seed) const {
    const auto is_one = [](const Value& value) {
      return value.is_nil() || value.kind() == Value::Kind::integer ||
             value.kind() == Value::Kind::natural || value.kind() == Value::Kind::big_integer;
    };
    if (is_one(seed)) return true;
    if (!agreement_.batch.vector || seed.kind() != Value::Kind::list) return false;
    return std::all_of(seed.items().begin(), seed.items().end(), is_one);
  }

  const Agreement& agreement_;
};

/// Writes decisions of one session.
class DecisionWriter {
 public:
  explicit DecisionWriter(const Agreement& agreement) : agreement_(agreement) {}

  Status reset(Draft& draft, const ResetRequest& reset) const {
    return tail(draft, Value::list({reset.seed, reset.options, reset.mask}), true);
  }

  Status step(Draft& draft, const Value& action, const Value& mask = Value()) const {
    const Layout& layout = agreement_.decisions;
    AreaWriter writer(layout, draft.room);
    if (!writer.store(agreement_.action_space, action)) {
      return tail(draft, Value::list({Value(), boxed(action), mask.is_nil() ? Value() : boxed(mask)}));
    }
    if (agreement_.batch.vector) {
      const Leaf& leaf = layout.leaves[layout.own_leaves];
      if (mask.is_nil()) {
        std::memset(draft.room + leaf.offset, 0, leaf.size);
      } else if (!writer.store_array(leaf, mask)) {
        return Status(Code::misuse, "a reset mask is an array of bool, one for each environment");
      }
    }
    draft.word |= flag_fixed;
    draft.size = layout.bytes;
    if (!layout.variable) return Status();
    Value variable = Value::list();
    for (const Value* part : writer.variable) variable.push_back(*part);
    return tail(draft, Value::list({std::move(variable), Value(), Value()}));
  }

  Status call(Draft& draft, const Call& call) const {
    return tail(draft, Value::list({static_cast<int>(call.operation), call.name, call.args, call.kwargs}));
  }

  Status close(Draft& draft, Reason reason) const {
    return tail(draft, Value::list({static_cast<int64_t>(reason)}));
  }

 private:
  static Status tail(Draft& draft, const Value& items, bool big_integers = false) {
    ValueEncoder encoder(draft.tail, big_integers);
    if (Status status = encoder.encode(items); !status) return status;
    draft.word |= flag_tail;
    draft.append(draft.tail);
    return Status();
  }

  const Agreement& agreement_;
};

}  // namespace detail

}  // namespace rlay

namespace rlay::detail {

/// What the environment's end says of its environment.
struct Facts {
  Space observation_space;
  Space action_space;
  Batch batch;
  Value metadata = Value::map();
  Value render_mode;
  Value spec;
  Value allow = Value::map();
  Value autoreset_mode;

  Result<Value> pack() const {
    auto agreement = Agreement::compile(observation_space, action_space, batch);
    if (!agreement) return agreement.status();
    Value map = Value::map();
    map.set("observation_space", observation_space.describe());
    map.set("action_space", action_space.describe());
    map.set("num_envs", batch.num_envs);
    map.set("metadata", metadata);
    map.set("render_mode", render_mode);
    map.set("spec", spec);
    map.set("allow", allow);
    map.set("autoreset_mode", autoreset_mode);
    map.set("vector", batch.vector);
    map.set("report_layout", agreement.value().reports.table());
    map.set("decision_layout", agreement.value().decisions.table());
    return map;
  }
};

/// What the algorithm's end asks of the environment's end.
struct Wishes {
  Value render_mode;
  Value autoreset_mode;
  bool vector = false;
  Value num_envs;
  Value observation_space;  // descriptions, or nil
  Value action_space;

  Value pack() const {
    Value map = Value::map();
    map.set("render_mode", render_mode);
    map.set("autoreset_mode", autoreset_mode);
    map.set("vector", vector);
    map.set("num_envs", num_envs);
    map.set("observation_space", observation_space);
    map.set("action_space", action_space);
    return map;
  }
};

/// A map from the other end, read field by field; the first problem is kept.
class Fields {
 public:
  explicit Fields(const Value& map) : map_(map) {
    if (!map.is_map()) refuse("a map was expected");
  }

  Value get(const char* key, Value::Kind kind) {
    const Value* found = map_.find(key);
    if (!found || found->kind() != kind) {
      refuse(std::string("the field ") + key + " is missing or of another type");
      return Value();
    }
    return *found;
  }
  Value optional(const char* key, Value::Kind kind) {
    const Value* found = map_.find(key);
    return !found || found->is_nil() ? Value() : get(key, kind);
  }
  /// An integer from `least` to `limit`.
  uint64_t count(const char* key, uint64_t limit, uint64_t least = 0) {
    const Value* found = map_.find(key);
    const bool integer = found && (found->kind() == Value::Kind::natural ||
                                   (found->kind() == Value::Kind::integer && found->integer() >= 0));
    const uint64_t number = integer ? found->natural() : 0;
    if (!integer || number > limit || number < least) {
      refuse(std::string("the field ") + key + " is no number in its range");
      return least;
    }
    return number;
  }
  Value optional_mode(const char* key) {
    Value mode = optional(key, Value::Kind::text);
    if (mode.is_text() && mode.text() != "NextStep" && mode.text() != "SameStep" &&
        mode.text() != "Disabled") {
      refuse("an unknown autoreset mode");
    }
    return mode;
  }
  Space space(const char* key) {
    const Value* found = map_.find(key);
    auto space = Space::parse(found ? *found : Value());
    if (!space) refuse(space.status().message());
    return std::move(space.value());
  }
  void refuse(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
  }
  Status status() const {
    return problem_.empty() ? Status() : protocol_error("malformed greeting: " + problem_);
  }

 private:
  const Value& map_;
  std::string problem_;
};

inline Status unpack_facts(const Value& map, Facts& facts) {
  Fields fields(map);
  facts.observation_space = fields.space("observation_space");
  facts.action_space = fields.space("action_space");
  facts.batch.num_envs = static_cast<uint32_t>(fields.count("num_envs", max_num_envs, 1));
  facts.metadata = fields.get("metadata", Value::Kind::map);
  facts.render_mode = fields.optional("render_mode", Value::Kind::text);
  facts.spec = fields.optional("spec", Value::Kind::map);
  facts.allow = fields.get("allow", Value::Kind::map);
  facts.autoreset_mode = fields.optional_mode("autoreset_mode");
  facts.batch.vector = fields.get("vector", Value::Kind::boolean).boolean();
  for (size_t i = 0; i < facts.allow.size(); ++i) {
    if (facts.allow[i].kind() != Value::Kind::boolean) fields.refuse("allow holds other than bools");
  }
  if (facts.batch.num_envs > 1 && !facts.batch.vector) fields.refuse("several environments without a batch");
  if (Status status = fields.status(); !status) return status;
  auto agreement = Agreement::compile(facts.observation_space, facts.action_space, facts.batch);
  if (!agreement) return agreement.status();
  if (Status status = agreement.value().reports.check(map.find("report_layout"), "report"); !status) {
    return status;
  }
  return agreement.value().decisions.check(map.find("decision_layout"), "decision");
}

inline Status unpack_wishes(const Value& map, Wishes& wishes) {
  Fields fields(map);
  wishes.render_mode = fields.optional("render_mode", Value::Kind::text);
  wishes.autoreset_mode = fields.optional_mode("autoreset_mode");
  wishes.vector = fields.get("vector", Value::Kind::boolean).boolean();
  const Value* count = map.find("num_envs");
  if (count && !count->is_nil()) wishes.num_envs = fields.count("num_envs", max_num_envs, 1);
  for (const auto& [key, target] : {std::pair<const char*, Value*>{"observation_space", &wishes.observation_space},
                                    std::pair<const char*, Value*>{"action_space", &wishes.action_space}}) {
    *target = fields.optional(key, Value::Kind::list);
    if (!target->is_nil()) fields.space(key);
  }
  return fields.status();
}

struct Hello {
  Paradigm paradigm = Paradigm::client_env;
  Value environment;  // packed facts, or nil
  Value wishes;       // packed wishes, or nil
  std::string program = software;
  uint32_t capabilities = 0;
  uint64_t max_message_bytes = default_max_message_bytes;
};

struct Welcome {
  uint32_t generation = 0;
  Value environment;
  Value wishes;
  std::string program = software;
  uint32_t capabilities = 0;
  uint64_t max_message_bytes = default_max_message_bytes;
};

inline Status pack_greeting(const Value& map, Bytes& out) {
  out.assign({'R', 'L', 'A', 'Y', 'H', 'E', 'L', 'O'});
  const uint32_t versions[2] = {protocol_version, protocol_minor};
  const auto* first = reinterpret_cast<const uint8_t*>(versions);
  out.insert(out.end(), first, first + 8);
  return ValueEncoder(out).encode(map);
}

/// Magic and version are read before anything else, so that ends of different versions
/// can refuse each other.
inline Status unpack_greeting(const uint8_t* data, size_t size, Value& map) {
  if (size < 16 || std::memcmp(data, "RLAYHELO", 8) != 0) return protocol_error("this is no greeting");
  uint32_t version;
  std::memcpy(&version, data + 8, 4);
  if (version != protocol_version) {
    return Status(Code::version, "the other end speaks version " + std::to_string(version) +
                                     " of the protocol, this one version " +
                                     std::to_string(protocol_version) + ": upgrade the older end");
  }
  return ValueDecoder(data + 16, size - 16).whole(map);
}

inline Status encode(const Hello& hello, Bytes& out) {
  Value map = Value::map();
  map.set("paradigm", static_cast<uint32_t>(hello.paradigm));
  map.set("environment", hello.environment);
  map.set("wishes", hello.wishes);
  map.set("software", hello.program);
  map.set("capabilities", hello.capabilities);
  map.set("max_message_bytes", hello.max_message_bytes);
  return pack_greeting(map, out);
}

inline Status encode(const Welcome& welcome, Bytes& out) {
  Value map = Value::map();
  map.set("generation", welcome.generation);
  map.set("environment", welcome.environment);
  map.set("wishes", welcome.wishes);
  map.set("software", welcome.program);
  map.set("capabilities", welcome.capabilities);
  map.set("max_message_bytes", welcome.max_message_bytes);
  return pack_greeting(map, out);
}

/// A REFUSAL that tells of `why`.
inline Status encode_refusal(const Status& why, Bytes& out) {
  const auto fit = [](const std::string& text, size_t limit) {
    const std::string cut = shortened(text, limit);
    return is_utf8(cut) ? cut : std::string("(text that is no UTF-8)");
  };
  Value map = Value::map();
  const auto code = static_cast<uint32_t>(why.code());
  map.set("code", code < 0x8000 ? code : static_cast<uint32_t>(Code::environment));
  map.set("message", fit(why.message(), max_remote_message_bytes));
  map.set("remote_type", fit(why.type(), max_remote_type_bytes));
  map.set("traceback", fit(why.traceback(), max_remote_traceback_bytes));
  return pack_greeting(map, out);
}

inline Status decode(const Message& message, Hello& hello) {
  Value map;
  if (Status status = unpack_greeting(message.payload, message.size, map); !status) return status;
  Fields fields(map);
  hello.paradigm = static_cast<Paradigm>(fields.count("paradigm", 2, 1));
  hello.environment = fields.optional("environment", Value::Kind::map);
  hello.wishes = fields.optional("wishes", Value::Kind::map);
  hello.program = fields.get("software", Value::Kind::text).text();
  hello.capabilities = static_cast<uint32_t>(fields.count("capabilities", UINT32_MAX));
  hello.max_message_bytes = fields.count("max_message_bytes", UINT64_MAX);
  return fields.status();
}

inline Status decode(const Message& message, Welcome& welcome) {
  Value map;
  if (Status status = unpack_greeting(message.payload, message.size, map); !status) return status;
  Fields fields(map);
  welcome.generation = static_cast<uint32_t>(fields.count("generation", UINT32_MAX));
  welcome.environment = fields.optional("environment", Value::Kind::map);
  welcome.wishes = fields.optional("wishes", Value::Kind::map);
  welcome.program = fields.get("software", Value::Kind::text).text();
  welcome.capabilities = static_cast<uint32_t>(fields.count("capabilities", UINT32_MAX));
  welcome.max_message_bytes = fields.count("max_message_bytes", UINT64_MAX);
  return fields.status();
}

/// The error that a REFUSAL tells of: never an ok status.
inline Status decode_refusal(const Message& message) {
  Value map;
  if (Status status = unpack_greeting(message.payload, message.size, map); !status) return status;
  Fields fields(map);
  const auto code = static_cast<uint32_t>(fields.count("code", UINT32_MAX, 1));
  const Value text = fields.get("message", Value::Kind::text);
  const Value type = fields.get("remote_type", Value::Kind::text);
  const Value traceback = fields.get("traceback", Value::Kind::text);
  if (Status status = fields.status(); !status) return status;
  return Status(static_cast<Code>(code), text.text()).with_remote(type.text(), traceback.text());
}

}  // namespace rlay::detail

namespace rlay {

/// An attribute that the algorithm may read and, where it can be set, write.
struct Attribute {
  std::function<Status(Value& value)> get;
  std::function<Status(const Value& value)> set;
};

/// A method that the algorithm may call.
using Method = std::function<Status(const Call& call, Value& result)>;

/// What an environment is, for both `serve` and `Backend`.
struct EnvironmentFacts {
  Space observation_space;
  Space action_space;

  /// More than one: messages are batches, on one clock. Observations, actions, rewards and
  /// flags then have this size in front.
  uint32_t num_envs = 1;
  /// Whether messages are batches where `num_envs` is 1.
  bool vector = false;
  /// Of a batch that is served: NextStep, SameStep or Disabled, as it resets by itself.
  std::string autoreset_mode = "NextStep";

  std::string render_mode;        // empty: none
  /// As Gymnasium's: render_modes (added where it is missing), render_fps.
  Value metadata = Value::map();
  Value spec;                     // nil, or a map: id, reward_threshold, ...

  /// Returns a frame.
  std::function<Status(Value& frame)> render;
  std::vector<std::pair<std::string, Attribute>> attributes;
  std::vector<std::pair<std::string, Method>> methods;
};

/// An environment that answers. The callbacks run in the thread that calls `serve`.
///
/// `first` and `transition` keep what they were at the last call, so that an array that is
/// only written to again takes no new memory; reward, flags and info are cleared.
struct Environment : EnvironmentFacts {
  std::function<Status(const ResetRequest& request, First& first)> reset;
  std::function<Status(const Value& action, Transition& transition)> step;
};

namespace detail {

inline Facts pack_facts(const EnvironmentFacts& it, bool answers) {
  Facts facts;
  facts.observation_space = it.observation_space;
  facts.action_space = it.action_space;
  facts.batch.vector = it.vector || it.num_envs > 1;
  facts.batch.num_envs = it.num_envs;
  facts.metadata = it.metadata;
  if (!facts.metadata.find("render_modes")) {
    Value modes = Value::list();
    if (!it.render_mode.empty()) modes.push_back(it.render_mode);
    facts.metadata.set("render_modes", std::move(modes));
  }
  facts.spec = it.spec;
  if (!it.render_mode.empty()) facts.render_mode = it.render_mode;
  if (facts.batch.vector && answers) facts.autoreset_mode = it.autoreset_mode;
  for (const auto& attribute : it.attributes) facts.allow.set(attribute.first.c_str(), false);
  for (const auto& method : it.methods) facts.allow.set(method.first.c_str(), true);
  return facts;
}

inline Status check_facts(const EnvironmentFacts& it) {
  if (it.num_envs < 1 || it.num_envs > max_num_envs) {
    return Status(Code::misuse, "num_envs is 1 to 65536");
  }
  for (const Space* space : {&it.observation_space, &it.action_space}) {
    Value description = space->describe();
    Bytes bytes;
    if (Status status = ValueEncoder(bytes).encode(description); !status) {
      return Status(Code::misuse, "a space cannot travel: " + status.message());
    }
    if (auto parsed = Space::parse(description); !parsed) {
      return Status(Code::misuse, "a space is not sound: " + parsed.status().message());
    }
  }
  return Status();
}

/// Answers a call of the algorithm.
inline Status answer_call(const EnvironmentFacts& env, const Call& call, Value& result) {
  result = Value();
  if (call.operation == Call::Operation::render) {
    if (!env.render) return Status(Code::unsupported, "this environment renders nothing");
    return env.render(result);
  }
  for (const auto& [name, method] : env.methods) {
    if (name != call.name) continue;
    if (call.operation == Call::Operation::call) return method(call, result);
    return Status(Code::not_allowed, quoted(call.name) + " is a method: call it");
  }
  for (const auto& [name, attribute] : env.attributes) {
    if (name != call.name) continue;
    if (call.operation == Call::Operation::get && attribute.get) return attribute.get(result);
    if (call.operation == Call::Operation::set && attribute.set) {
      if (call.args.size() != 1) return Status(Code::not_allowed, "a SET has one value");
      return attribute.set(call.args[0]);
    }
    return Status(Code::not_allowed, quoted(call.name) + " cannot be used so");
  }
  return Status(Code::not_allowed, "this environment offers no " + quoted(call.name) +
                                       ": add it to its attributes or methods");
}

/// An error of a callback as it travels.
inline Status as_failure(Status status) {
  if (static_cast<uint32_t>(status.code()) < 0x8000) return status;
  return Status(Code::environment, status.message()).with_remote("Error", "");
}

}  // namespace detail

}  // namespace rlay

//------------------------------------- mapped.hpp -------------------------------------
// The two ends of a channel in mapped memory.

//-------------------------------------- ends.hpp --------------------------------------
// The two ends of a channel, whatever stands behind them.

//------------------------------------- slots.hpp --------------------------------------
// Slots: one direction of a session, a message or a part at a time.

//------------------------------------- files.hpp --------------------------------------
// The directory of channels, its files, mapped memory and locks.

//------------------------------------- forks.hpp --------------------------------------
// Descriptors that a forked child must not keep.

//------------------------------------- clock.hpp --------------------------------------
// Time, and how long somebody is ready to wait.

namespace rlay {

/// Seconds to wait; negative: without a limit, which must be asked for.
inline constexpr double forever = -1.0;

/// A flag that ends a wait of another thread, or from a signal handler, within 0.1 s.
using StopFlag = std::atomic<bool>;

namespace detail {

inline int64_t now_ns() {
#if defined(_WIN32)
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
#else
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000000000 + now.tv_nsec;
#endif
}

inline constexpr int64_t ns_per_s = 1000000000;
// Longest sleep between two looks: a dead peer is seen within twice this time.
inline constexpr int64_t slice_ns = 50000000;

inline void sleep_ns(int64_t duration_ns) {
  if (duration_ns <= 0) return;
#if defined(_WIN32)
  Sleep(static_cast<DWORD>((duration_ns + 999999) / 1000000));
#else
  timespec span{static_cast<time_t>(duration_ns / ns_per_s), static_cast<long>(duration_ns % ns_per_s)};
  nanosleep(&span, nullptr);
#endif
}

/// How long a wait may last.
class Deadline {
 public:
  /// `seconds` from now; 0 looks once, a negative number waits for ever.
  explicit Deadline(double seconds, const StopFlag* stop = nullptr) : stop_(stop) {
    if (seconds < 0 || !(seconds < 1e9)) return;
    limited_ = true;
    until_ns_ = now_ns() + static_cast<int64_t>(seconds * 1e9);
  }
  bool stopped() const { return stop_ && stop_->load(std::memory_order_relaxed); }
  /// Nanoseconds that are left, at most `most`; 0 where time is up.
  int64_t left_ns(int64_t most = slice_ns) const {
    if (!limited_) return most;
    return std::max<int64_t>(0, std::min(most, until_ns_ - now_ns()));
  }
  bool over() const { return limited_ && now_ns() >= until_ns_; }
  /// Gives back time that does not count.
  void extend(int64_t by_ns) { until_ns_ += by_ns; }
  const StopFlag* stop() const { return stop_; }

 private:
  bool limited_ = false;
  int64_t until_ns_ = 0;
  const StopFlag* stop_ = nullptr;
};

inline Status timed_out(std::string what) { return Status(Code::timeout, std::move(what)); }
inline Status was_stopped() { return Status(Code::stopped, "the stop flag is up"); }

/// A random 64-bit number that is not 0: an incarnation, or a session.
inline uint64_t draw_id() {
  std::random_device device;
  uint64_t id = 0;
  while (id == 0) id = static_cast<uint64_t>(device()) << 32 | device();
  return id;
}

}  // namespace detail

}  // namespace rlay

#if RLAY_MAPPED_FILES

namespace rlay::detail {

/// A lock lives as long as one descriptor of its open file does, in any process: a child
/// that keeps one would make a dead parent look alive. So a child closes them all.
class ForkGuard {
 public:
  static void add(int fd) {
    static const int installed = pthread_atfork(nullptr, nullptr, &ForkGuard::in_child);
    (void)installed;
    for (std::atomic<int>& place : descriptors()) {
      int none = 0;
      if (place.compare_exchange_strong(none, fd + 1)) return;
    }
  }
  static void remove(int fd) {
    for (std::atomic<int>& place : descriptors()) {
      int same = fd + 1;
      if (place.compare_exchange_strong(same, 0)) return;
    }
  }
  /// How many forks lie between this process and the one that began.
  static uint32_t generation() { return generation_word().load(std::memory_order_relaxed); }

 private:
  using Table = std::atomic<int>[512];
  static Table& descriptors() {
    static Table table;  // of zeros: it has static storage
    return table;
  }
  static std::atomic<uint32_t>& generation_word() {
    static std::atomic<uint32_t> word{0};
    return word;
  }
  static void in_child() {
    generation_word().fetch_add(1, std::memory_order_relaxed);
    for (std::atomic<int>& place : descriptors()) {
      const int fd = place.exchange(0) - 1;
      if (fd >= 0) ::close(fd);
    }
  }
};

/// A descriptor that is closed with its owner, and in forked children.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd), generation_(ForkGuard::generation()) {
    if (fd_ >= 0) ForkGuard::add(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_), generation_(other.generation_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      close();
      fd_ = other.fd_;
      generation_ = other.generation_;
      other.fd_ = -1;
    }
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }

  int fd() const { return fd_; }
  /// False in a forked child: there it is closed.
  bool is_open() const { return fd_ >= 0 && generation_ == ForkGuard::generation(); }
  void close() {
    const int fd = fd_;
    fd_ = -1;
    // In a child the number is closed already, and may be another file's by now.
    if (fd < 0 || generation_ != ForkGuard::generation()) return;
    ForkGuard::remove(fd);
    ::close(fd);
  }

 private:
  int fd_ = -1;
  uint32_t generation_ = 0;
};

}  // namespace rlay::detail

#endif  // RLAY_MAPPED_FILES

namespace rlay::detail {

/// How many forks lie between this process and the one that began; 0 where there are none.
inline uint32_t fork_generation() {
#if RLAY_MAPPED_FILES
  return ForkGuard::generation();
#else
  return 0;
#endif
}

inline Status forked_error() {
  return Status(Code::misuse,
                "this end of a channel belongs to the parent process: make one of its own in the child");
}

}  // namespace rlay::detail

namespace rlay::detail {

/// Whether a channel may have this name.
inline bool is_channel_name(std::string_view name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (name.empty() || name.size() > max_name_length || !plain(name[0])) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return plain(c) || c == '.' || c == '_' || c == '-'; });
}

inline Status check_channel_name(std::string_view name) {
  if (is_channel_name(name)) return Status();
  return Status(Code::misuse, quoted(name) +
                                  " is no name of a channel: letters, digits, dots, dashes and "
                                  "underscores, at most 64, the first a letter or digit");
}

}  // namespace rlay::detail

#if RLAY_MAPPED_FILES

namespace rlay::detail {

inline Status file_error(int error, const std::string& path) {
  const std::string text = path + ": " + system_text(error);
  switch (error) {
    case ENOENT: return Status(Code::not_found, text);
    case EACCES:
    case EPERM: return Status(Code::permission, text);
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM: return Status(Code::no_space, text + ": make room, or choose another RLAY_DIR");
    case ELOOP:
    case ENOTDIR: return Status(Code::corrupt, text);
    default: return Status(Code::system, text);
  }
}

/// Memory that is mapped, shared and writable.
class Mapping {
 public:
  Mapping() = default;
  Mapping(uint8_t* data, size_t size) : data_(data), size_(size) {}
  Mapping(Mapping&& other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr; }
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      unmap();
      data_ = other.data_;
      size_ = other.size_;
      other.data_ = nullptr;
    }
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { unmap(); }

  uint8_t* data() const { return data_; }
  size_t size() const { return data_ ? size_ : 0; }
  /// Forgets the memory: who gave it keeps it.
  void release() { data_ = nullptr; }
  void unmap() {
    if (data_) ::munmap(data_, size_);
    data_ = nullptr;
  }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

inline constexpr int directory_flags = O_RDONLY | O_CLOEXEC | O_DIRECTORY;
inline constexpr int file_flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;

inline bool is_private_directory(int fd) {
  struct stat facts;
  return ::fstat(fd, &facts) == 0 && S_ISDIR(facts.st_mode) && facts.st_uid == ::geteuid() &&
         (facts.st_mode & 0077) == 0;
}

/// Opens a file that must be a plain file of ours alone.
inline Result<int> open_plain(int directory, const std::string& name, const std::string& path) {
  const int fd = ::openat(directory, name.c_str(), O_RDWR | file_flags);
  if (fd < 0) return file_error(errno, path);
  struct stat facts;
  if (::fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_nlink > 1) {
    ::close(fd);
    return Status(Code::corrupt, path + " is not a plain file with one name: remove it by hand if it "
                                        "is not needed");
  }
  if (facts.st_uid != ::geteuid() || (facts.st_mode & 0077)) {
    ::close(fd);
    return Status(Code::permission, path + " is not this user's alone: it must have mode 0600");
  }
  return fd;
}

inline Result<Mapping> map_file(int fd, size_t size, const std::string& path) {
  int flags = MAP_SHARED;
#if defined(MAP_POPULATE)
  flags |= MAP_POPULATE;
#endif
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (data == MAP_FAILED) return file_error(errno, path);
  return Mapping(static_cast<uint8_t*>(data), size);
}

/// Makes a file of zeros with all its room taken, and maps it.
inline Result<Mapping> create_mapped(int directory, const std::string& name, const std::string& path,
                                     size_t size) {
  const int fd = ::openat(directory, name.c_str(), O_RDWR | O_CREAT | O_EXCL | file_flags, 0600);
  if (fd < 0) return file_error(errno, path);
#if defined(__APPLE__)
  const int error = ::ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : errno;
#else
  int error;
  do {
    error = ::posix_fallocate(fd, 0, static_cast<off_t>(size));
  } while (error == EINTR);
#endif
  auto mapping = error ? Result<Mapping>(file_error(error, path)) : map_file(fd, size, path);
  ::close(fd);
  if (!mapping) ::unlinkat(directory, name.c_str(), 0);
  return mapping;
}

/// Maps a file that must have at least so many bytes.
inline Result<Mapping> open_mapped(int directory, const std::string& name, const std::string& path,
                                   size_t least) {
  auto opened = open_plain(directory, name, path);
  if (!opened) return opened.status();
  const int fd = opened.value();
  struct stat facts;
  Result<Mapping> mapping = Status(Code::corrupt, path + " is shorter than it must be");
  if (::fstat(fd, &facts) == 0 && facts.st_size >= 0 && static_cast<uint64_t>(facts.st_size) >= least) {
    mapping = map_file(fd, static_cast<size_t>(facts.st_size), path);
  }
  ::close(fd);
  return mapping;
}

// -------------------------------------------------------------------------- locks

inline bool try_lock(int fd, int kind) {
  int result;
  do {
    result = ::flock(fd, kind | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  return result == 0;
}

/// Tries for as long as looks may be in the way: they hold a lock for a moment.
inline bool outlast_looks(int fd) {
  for (int i = 0; i < 20; ++i) {
    if (try_lock(fd, LOCK_EX)) return true;
    if (!try_lock(fd, LOCK_SH)) return false;  // looks share it: this is a holder
    ::flock(fd, LOCK_UN);
    sleep_ns(2500000);
  }
  return false;
}

/// Whether somebody holds the lock of a file, through a descriptor of our own of it.
inline bool is_held(int fd) {
  if (!try_lock(fd, LOCK_SH)) return true;
  ::flock(fd, LOCK_UN);
  return false;
}

// ---------------------------------------------------------------------- directory

/// An open directory of channels: this user's, and nobody else may look into it.
struct ChannelDirectory {
  std::string path;
  Descriptor fd;
};

inline std::string private_name() { return "rlay-" + std::to_string(::geteuid()); }

inline std::string default_directory() {
  if (const char* named = std::getenv("RLAY_DIR"); named && *named) return named;
  struct stat facts;
  if (::stat("/dev/shm", &facts) == 0 && S_ISDIR(facts.st_mode)) return "/dev/shm/" + private_name();
  const char* temporary = std::getenv("TMPDIR");
  return std::string(temporary && *temporary ? temporary : "/tmp") + "/" + private_name();
}

inline void make_directories(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    ::mkdir(path.substr(0, at).c_str(), 0777);
  }
  ::mkdir(path.c_str(), 0700);
}

/// Opens the directory of channels. One that is not ours alone is not used itself: a
/// sub-directory of it is.
inline Result<ChannelDirectory> open_directory(const std::string& wanted, bool create) {
  const char* variable = std::getenv("RLAY_DIR");
  const bool named = !wanted.empty() || (variable && *variable);
  ChannelDirectory directory;
  directory.path = wanted.empty() ? default_directory() : wanted;
  if (create) make_directories(directory.path);
  // Who names a directory may name a link to it. Nobody names the default one, and a link
  // in its place was put there by somebody else.
  directory.fd = Descriptor(::open(directory.path.c_str(), directory_flags | (named ? 0 : O_NOFOLLOW)));
  if (!directory.fd.is_open()) return file_error(errno, directory.path);
  if (is_private_directory(directory.fd.fd())) return directory;
  const std::string inner = private_name();
  const std::string outer = directory.path;
  directory.path += "/" + inner;
  if (create) ::mkdirat(directory.fd.fd(), inner.c_str(), 0700);
  directory.fd = Descriptor(::openat(directory.fd.fd(), inner.c_str(), directory_flags | O_NOFOLLOW));
  if (!directory.fd.is_open()) return file_error(errno, directory.path);
  if (is_private_directory(directory.fd.fd())) return directory;
  return Status(Code::permission, directory.path + " (in " + outer +
                                      ") is not this user's alone: it must have mode 0700; remove it, "
                                      "or name another directory with RLAY_DIR");
}

/// Names of the channels of a group, `NAME.<digits>`, in numeric order.
inline std::vector<std::string> group_members(const ChannelDirectory& directory, const std::string& name) {
  std::vector<std::pair<uint64_t, std::string>> found;
  const int copy = ::openat(directory.fd.fd(), ".", directory_flags);
  DIR* listing = copy < 0 ? nullptr : ::fdopendir(copy);
  if (!listing) {
    if (copy >= 0) ::close(copy);
    return {};
  }
  while (const dirent* entry = ::readdir(listing)) {
    const std::string_view one = entry->d_name;
    if (one.size() <= name.size() + 1 || one.size() > name.size() + 10) continue;
    if (one.substr(0, name.size()) != name || one[name.size()] != '.') continue;
    const std::string_view digits = one.substr(name.size() + 1);
    if (digits.find_first_not_of("0123456789") != std::string_view::npos) continue;
    found.emplace_back(std::strtoull(std::string(digits).c_str(), nullptr, 10), one);
  }
  ::closedir(listing);
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (auto& item : found) names.push_back(std::move(item.second));
  return names;
}

// -------------------------------------------------------------------- one channel

enum class End : uint8_t { server, client };

inline const char* name_of(End end) { return end == End::server ? "server" : "client"; }

/// The files of one channel.
class ChannelFiles {
 public:
  std::string name;
  std::string path;
  Mapping header;

  ChannelFiles() = default;
  ChannelFiles(ChannelFiles&&) = default;
  ChannelFiles& operator=(ChannelFiles&&) = default;
  ~ChannelFiles() = default;

  /// Makes the files of a channel under a hidden name, its server end held.
  static Result<ChannelFiles> create(ChannelDirectory directory, const std::string& name) {
    ChannelFiles files;
    files.directory_ = std::move(directory);
    files.name = name;
    files.path = files.directory_.path + "/" + name;
    for (int i = 0; i < 100; ++i) {
      files.hidden_ = ".new-" + hex(draw_id());
      if (::mkdirat(files.directory_.fd.fd(), files.hidden_.c_str(), 0700) != 0) {
        return file_error(errno, files.path);
      }
      files.fd_ = Descriptor(::openat(files.directory_.fd.fd(), files.hidden_.c_str(),
                                      directory_flags | O_NOFOLLOW));
      if (!files.fd_.is_open()) continue;  // somebody swept it
      Status status = files.hold(End::server);
      if (status && !files.leads_here(files.hidden_)) continue;
      if (status) status = files.make_lock(End::client);
      if (status) {
        auto mapping = create_mapped(files.fd_.fd(), "header", files.path + "/header", header_file_bytes);
        if (mapping) {
          files.header = std::move(mapping.value());
        } else {
          status = mapping.status();
        }
      }
      if (status) return files;
      files.remove();
      return status;
    }
    return Status(Code::system, files.directory_.path + " is swept all the time: nothing stays");
  }

  /// Gives the channel its name; a stale channel of that name is replaced.
  Status publish() {
    for (int i = 0; i < 100; ++i) {
      if (::renameat(directory_.fd.fd(), hidden_.c_str(), directory_.fd.fd(), name.c_str()) == 0) {
        hidden_.clear();
        return Status();
      }
      if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) return file_error(errno, path);
      if (Status status = displace_stale(); !status) return status;
    }
    return Status(Code::busy, "channel " + quoted(name) + " is fought over: too many servers");
  }

  /// Opens the files of an existing channel and maps its header.
  static Result<ChannelFiles> open(ChannelDirectory directory, const std::string& name) {
    ChannelFiles files;
    files.directory_ = std::move(directory);
    files.name = name;
    files.path = files.directory_.path + "/" + name;
    if (Status status = files.open_directory_of_channel(); !status) return status;
    auto mapping = open_mapped(files.fd_.fd(), "header", files.path + "/header", header_file_bytes);
    if (!mapping) return mapping.status();
    files.header = std::move(mapping.value());
    return files;
  }

  /// Takes an end's lock; Code::busy where somebody else holds it.
  Status hold(End end) {
    const std::string file = lock_name(end);
    int fd = ::openat(fd_.fd(), file.c_str(), O_RDWR | O_CREAT | O_EXCL | file_flags, 0600);
    if (fd < 0 && errno == EEXIST) {
      auto opened = open_plain(fd_.fd(), file, path + "/" + file);
      if (!opened) return opened.status();
      fd = opened.value();
    }
    if (fd < 0) return file_error(errno, path + "/" + file);
    Descriptor lock(fd);
    if (!outlast_looks(fd)) {
      return Status(Code::busy, "channel " + quoted(name) + " has a " + name_of(end) +
                                    " already: use another name, or end that one first");
    }
    lock_ = std::move(lock);
    return Status();
  }
  void release() { lock_.close(); }
  bool holds() const { return lock_.is_open(); }

  /// A descriptor through which an end's lock is looked at.
  Result<Descriptor> probe(End end) const {
    const std::string file = lock_name(end);
    auto opened = open_plain(fd_.fd(), file, path + "/" + file);
    if (!opened) return opened.status();
    return Descriptor(opened.value());
  }

  /// Whether the channel's name still leads to these files.
  bool is_current() const { return leads_here(name); }

  Result<Mapping> create_slots(uint32_t generation, size_t size) {
    if (generation_) ::unlinkat(fd_.fd(), slots_name(generation_).c_str(), 0);
    generation_ = 0;
    const std::string hidden = ".slots-" + hex(draw_id()).substr(0, 8);
    const std::string file = slots_name(generation);
    auto mapping = create_mapped(fd_.fd(), hidden, path + "/" + file, size);
    if (!mapping) return mapping;
    if (::renameat(fd_.fd(), hidden.c_str(), fd_.fd(), file.c_str()) != 0) {
      const int error = errno;
      ::unlinkat(fd_.fd(), hidden.c_str(), 0);
      return file_error(error, path + "/" + file);
    }
    generation_ = generation;
    return mapping;
  }
  Result<Mapping> open_slots(uint32_t generation) const {
    const std::string file = slots_name(generation);
    return open_mapped(fd_.fd(), file, path + "/" + file, slots_header_bytes);
  }

  /// Writes one byte into the FIFO of an end, if somebody reads it.
  void ring_fifo(End end) {
    if (!fifo_.is_open()) {
      const std::string file = std::string("bell.") + name_of(end);
      Descriptor opened(::openat(fd_.fd(), file.c_str(), O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
      struct stat facts;
      if (!opened.is_open() || ::fstat(opened.fd(), &facts) != 0 || !S_ISFIFO(facts.st_mode)) return;
      fifo_ = std::move(opened);
    }
    const uint8_t byte = 0;
    const auto written = write_quietly(fifo_.fd(), &byte, 1);
    if (written < 0 && errno != EAGAIN && errno != EWOULDBLOCK) fifo_.close();  // its reader is gone
  }

  /// Takes away the channel's name and files. Twice is harmless.
  void remove() {
    if (!fd_.is_open() || removed_) return;
    removed_ = true;
    std::string gone = hidden_;
    if (gone.empty() && is_current()) {
      gone = ".gone-" + hex(draw_id());
      if (::renameat(directory_.fd.fd(), name.c_str(), directory_.fd.fd(), gone.c_str()) != 0) return;
    }
    if (!gone.empty()) remove_hidden(gone);
  }

  static Status check_contents(int fd, const std::string& path);

 private:
  static std::string hex(uint64_t number) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
    return text;
  }
  static std::string lock_name(End end) { return std::string(name_of(end)) + ".lock"; }
  static std::string slots_name(uint32_t generation) { return "slots." + std::to_string(generation); }

  /// Writes into a FIFO whose reader may be gone, without the signal that this would raise.
  static ssize_t write_quietly(int fd, const void* data, size_t size) {
    sigset_t pipe_signal, before;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    const ssize_t written = ::write(fd, data, size);
    const int error = errno;
    if (written < 0 && error == EPIPE && !sigismember(&before, SIGPIPE)) {
      sigset_t pending;
      sigpending(&pending);
      int number;
      if (sigismember(&pending, SIGPIPE)) sigwait(&pipe_signal, &number);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = error;
    return written;
  }

  Status open_directory_of_channel() {
    fd_ = Descriptor(::openat(directory_.fd.fd(), name.c_str(), directory_flags | O_NOFOLLOW));
    if (!fd_.is_open()) {
      if (errno == ENOENT) {
        return Status(Code::not_found, "there is no channel " + quoted(name) + " in " + directory_.path);
      }
      return file_error(errno, path);
    }
    if (is_private_directory(fd_.fd())) return Status();
    return Status(Code::permission, path + " is not this user's alone: it must have mode 0700");
  }

  Status make_lock(End end) {
    const std::string file = lock_name(end);
    const int fd = ::openat(fd_.fd(), file.c_str(), O_RDWR | O_CREAT | O_EXCL | file_flags, 0600);
    if (fd < 0 && errno != EEXIST) return file_error(errno, path + "/" + file);
    if (fd >= 0) ::close(fd);
    return Status();
  }

  bool leads_here(const std::string& wanted) const {
    struct stat ours, theirs;
    return ::fstat(fd_.fd(), &ours) == 0 &&
           ::fstatat(directory_.fd.fd(), wanted.c_str(), &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
  }

  /// Takes the name away from a channel whose server is gone.
  Status displace_stale() {
    Descriptor old(::openat(directory_.fd.fd(), name.c_str(), directory_flags | O_NOFOLLOW));
    if (!old.is_open()) return errno == ENOENT ? Status() : file_error(errno, path);
    if (!is_private_directory(old.fd())) {
      return Status(Code::permission, path + " is not this user's alone: it must have mode 0700");
    }
    if (Status status = check_contents(old.fd(), path); !status) return status;
    const auto living = [&] {
      auto lock = open_plain(old.fd(), "server.lock", path + "/server.lock");
      if (!lock) return false;
      const bool held = is_held(lock.value());
      ::close(lock.value());
      return held;
    };
    struct stat ours, theirs;
    const auto current = [&] {
      return ::fstat(old.fd(), &ours) == 0 &&
             ::fstatat(directory_.fd.fd(), name.c_str(), &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
             ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
    };
    if (living()) {
      if (!current()) return Status();
      return Status(Code::busy, "channel " + quoted(name) +
                                    " has a server already: use another name, or end that one first");
    }
    // Who takes a dead channel's name away holds its directory's lock, so that nobody
    // does it twice.
    if (!outlast_looks(old.fd())) return Status();
    if (living() || !current()) return Status();
    const std::string gone = ".gone-" + hex(draw_id());
    if (::renameat(directory_.fd.fd(), name.c_str(), directory_.fd.fd(), gone.c_str()) != 0) {
      return errno == ENOENT ? Status() : file_error(errno, path);
    }
    remove_hidden(gone);
    return Status();
  }

  void remove_hidden(const std::string& hidden) {
    const Descriptor inner(::openat(directory_.fd.fd(), hidden.c_str(), directory_flags | O_NOFOLLOW));
    if (!inner.is_open()) return;
    const int copy = ::openat(inner.fd(), ".", directory_flags);
    DIR* listing = copy < 0 ? nullptr : ::fdopendir(copy);
    std::vector<std::string> entries;
    while (const dirent* entry = listing ? ::readdir(listing) : nullptr) entries.emplace_back(entry->d_name);
    if (listing) {
      ::closedir(listing);
    } else if (copy >= 0) {
      ::close(copy);
    }
    for (const std::string& entry : entries) {
      if (entry != "." && entry != "..") ::unlinkat(inner.fd(), entry.c_str(), 0);
    }
    ::unlinkat(directory_.fd.fd(), hidden.c_str(), AT_REMOVEDIR);
  }

  ChannelDirectory directory_;
  Descriptor fd_;
  Descriptor lock_;
  Descriptor fifo_;
  std::string hidden_;
  uint32_t generation_ = 0;
  bool removed_ = false;
};

/// Makes sure that a directory is a channel's, of this major version, before anything in
/// it is removed.
inline Status ChannelFiles::check_contents(int fd, const std::string& path) {
  const int copy = ::openat(fd, ".", directory_flags);
  DIR* listing = copy < 0 ? nullptr : ::fdopendir(copy);
  if (!listing) {
    const int error = errno;
    if (copy >= 0) ::close(copy);
    return file_error(error, path);
  }
  std::string stranger;
  bool has_header = false;
  while (const dirent* entry = ::readdir(listing)) {
    const std::string_view one = entry->d_name;
    if (one == "." || one == "..") continue;
    has_header = has_header || one == "header";
    const bool known = one == "header" || one == "server.lock" || one == "client.lock" ||
                       one == "bell.server" || one == "bell.client" || one.substr(0, 6) == "slots." ||
                       one.substr(0, 7) == ".slots-";
    if (!known) stranger = one;
  }
  ::closedir(listing);
  if (!stranger.empty()) {
    return Status(Code::corrupt, path + " holds " + quoted(stranger) +
                                     ", which no channel has, so it is left as it is: use another name, "
                                     "or remove it by hand");
  }
  if (!has_header) return Status();
  auto header = open_plain(fd, "header", path + "/header");
  if (!header) return header.status();
  uint8_t head[12] = {};
  const ssize_t got = ::pread(header.value(), head, sizeof head, 0);
  ::close(header.value());
  uint32_t version;
  std::memcpy(&version, head + 8, 4);
  if (got == 12 && std::memcmp(head, "RLAYCHAN", 8) == 0 && version == protocol_version) return Status();
  return Status(got == 12 && version != protocol_version ? Code::version : Code::corrupt,
                path + " is no channel of version " + std::to_string(protocol_version) +
                    ", so it is left as it is: use another name, or remove it by hand");
}

}  // namespace rlay::detail

#endif  // RLAY_MAPPED_FILES

namespace rlay::detail {

/// A 32-bit word of memory that two processes share.
inline std::atomic<uint32_t>& word_at(uint8_t* memory, size_t offset) {
  return *reinterpret_cast<std::atomic<uint32_t>*>(memory + offset);
}

/// The memory of one slot.
struct Slot {
  uint8_t* base = nullptr;
  size_t capacity = 0;

  static constexpr size_t published_offset = 0;
  static constexpr size_t taken_bell_offset = 4;
  static constexpr size_t taken_offset = 128;
  static constexpr size_t published_bell_offset = 132;

  static size_t bytes(size_t capacity) {
    return slot_control_bytes + 2 * (message_header_bytes + capacity);
  }
  std::atomic<uint32_t>& published() const { return word_at(base, published_offset); }
  std::atomic<uint32_t>& taken_bell() const { return word_at(base, taken_bell_offset); }
  std::atomic<uint32_t>& taken() const { return word_at(base, taken_offset); }
  std::atomic<uint32_t>& published_bell() const { return word_at(base, published_bell_offset); }
  uint8_t* buffer(uint32_t index) const {
    return base + slot_control_bytes + index * (message_header_bytes + capacity);
  }
  uint8_t* payload(uint32_t index) const { return buffer(index) + message_header_bytes; }
  bool pending() const {
    return published().load(std::memory_order_acquire) != taken().load(std::memory_order_relaxed);
  }
};

/// What stands behind two slots: mapped memory and bells, or a socket.
class Carrier {
 public:
  enum class Word : uint8_t { published, taken };

  virtual ~Carrier() = default;
  /// A message or part was published in the outgoing slot.
  virtual void published(const Slot& slot) = 0;
  /// A part, or a greeting, was taken from the incoming slot: its writer may wait for that.
  virtual void taken(const Slot& slot) = 0;
  /// Waits until a word is no longer `seen`; an error where waiting is of no use.
  virtual Status wait(const Slot& slot, Word word, uint32_t seen, Deadline& deadline) = 0;
  /// Whether the other end is there; an error where it is not.
  virtual Status check() = 0;
  /// Makes what has come visible, without waiting.
  virtual void look() {}
};

/// A session over two slots, or a greeting over the two greeting slots.
class SlotSession {
 public:
  void begin(Slot outgoing, Slot incoming, Carrier* carrier, uint64_t limit_bytes) {
    outgoing_ = outgoing;
    incoming_ = incoming;
    carrier_ = carrier;
    limit_bytes_ = limit_bytes;
    count_ = outgoing_.published().load(std::memory_order_relaxed) & ~1U;
    parts_ = 0;
    forks_ = fork_generation();
  }
  /// Sets the ids that every message carries from now on.
  void stamp(uint64_t incarnation, uint64_t session) {
    incarnation_ = incarnation;
    session_ = session;
    for (uint32_t index = 0; index < 2; ++index) {
      MessageHeader header;
      header.incarnation = incarnation;
      header.session = session;
      std::memcpy(outgoing_.buffer(index), &header, sizeof header);
    }
  }
  void check_ids(bool check) { check_ids_ = check; }
  uint64_t limit_bytes() const { return limit_bytes_; }
  void set_limit(uint64_t limit_bytes) { limit_bytes_ = limit_bytes; }
  uint64_t incarnation() const { return incarnation_; }
  uint64_t session() const { return session_; }

  void draft(Draft& draft, MessageKind kind, uint32_t sequence) const {
    draft.begin(kind, outgoing_.payload(sequence & 1), outgoing_.capacity);
  }

  /// Whether the other end took what was published last.
  bool was_taken() const {
    return outgoing_.taken().load(std::memory_order_acquire) ==
           outgoing_.published().load(std::memory_order_relaxed);
  }

  /// Publishes a draft; a large one goes in parts, each of which is awaited.
  Status send(uint32_t sequence, const Draft& draft, Deadline& deadline) {
    // A process that the environment forked must not answer in its parent's place.
    if (fork_generation() != forks_) return forked_error();
    if (draft.overflow.empty()) {
      put_header(sequence, draft, 0, 1, draft.size, 0);
      publish(sequence);
      return Status();
    }
    if (draft.overflow.size() > limit_bytes_) return too_large(draft.overflow.size());
    const size_t total = draft.overflow.size();
    const auto parts = static_cast<uint32_t>((total + outgoing_.capacity - 1) / outgoing_.capacity);
    for (uint32_t part = 0; part < parts; ++part) {
      if (part > 0) {
        if (Status status = wait_until_taken(deadline); !status) return status;
      }
      send_part(sequence, draft, part, parts);
    }
    // The next message follows only when the last part was taken.
    if (Status status = wait_until_taken(deadline); !status) return status;
    restore_header(sequence);
    return Status();
  }

  /// Sends as much of a long draft as the reader has taken the parts before of, without
  /// waiting. `next`: the next part, 0 at first. True where all of it was published.
  bool send_some(uint32_t sequence, const Draft& draft, uint32_t& next) {
    if (draft.overflow.empty()) {
      if (next == 0) {
        put_header(sequence, draft, 0, 1, draft.size, 0);
        publish(sequence);
        next = 1;
      }
      return true;
    }
    const auto parts = static_cast<uint32_t>((draft.overflow.size() + outgoing_.capacity - 1) / outgoing_.capacity);
    while (next < parts && was_taken()) send_part(sequence, draft, next++, parts);
    return next == parts;
  }

  Status too_large(uint64_t bytes) const {
    return Status(Code::too_large, "a message of " + std::to_string(bytes) + " bytes exceeds the limit of " +
                                       std::to_string(limit_bytes_) +
                                       ": raise max_message_bytes at both ends, or send less");
  }

  /// Publishes the last message of a sequence again: it still lies in its buffer.
  void repeat(uint32_t sequence) { publish(sequence); }

  /// Waits for the next whole message. It stays valid until the next but one; `take` must
  /// be called before another is received.
  Status receive(Message& message, Deadline& deadline) {
    while (true) {
      const uint32_t seen = incoming_.taken().load(std::memory_order_relaxed);
      if (!incoming_.pending()) {
        if (Status status = carrier_->wait(incoming_, Carrier::Word::published, seen, deadline); !status) {
          return status;
        }
      }
      bool whole = false;
      if (Status status = accept(message, whole); !status) return status;
      if (whole) return Status();
    }
  }

  /// Whether a whole message is there, without waiting.
  Status receive_nowait(Message& message, bool& there) {
    there = false;
    carrier_->look();
    while (!there && incoming_.pending()) {
      if (Status status = accept(message, there); !status) return status;
    }
    return Status();
  }

  /// Says that the message was read, or copied as far as it is needed.
  void take() {
    incoming_.taken().store(incoming_.published().load(std::memory_order_relaxed),
                            std::memory_order_release);
  }
  void take_and_ring() {
    take();
    carrier_->taken(incoming_);
  }
  bool pending() const { return incoming_.pending(); }
  const Slot& outgoing() const { return outgoing_; }
  const Slot& incoming() const { return incoming_; }

  Status wait_until_taken(Deadline& deadline) {
    while (!was_taken()) {
      const uint32_t seen = outgoing_.taken().load(std::memory_order_acquire);
      if (was_taken()) break;
      if (Status status = carrier_->wait(outgoing_, Carrier::Word::taken, seen, deadline); !status) {
        return status;
      }
    }
    return Status();
  }

 private:
  void put_header(uint32_t sequence, const Draft& draft, uint32_t part, uint32_t parts, size_t bytes,
                  size_t total) {
    MessageHeader header;
    header.kind = draft.word;
    header.sequence = sequence;
    header.incarnation = incarnation_;
    header.session = session_;
    header.payload_bytes = static_cast<uint32_t>(bytes);
    header.part = part;
    header.parts = parts;
    header.reward_type = draft.reward_type;
    std::memcpy(header.reward, draft.reward, sizeof header.reward);
    header.total_bytes = total;
    std::memcpy(outgoing_.buffer(sequence & 1), &header, sizeof header);
  }
  void restore_header(uint32_t sequence) {
    MessageHeader header;
    uint8_t* buffer = outgoing_.buffer(sequence & 1);
    std::memcpy(&header, buffer, sizeof header);
    header.part = 0;
    header.parts = 1;
    header.payload_bytes = 0;
    header.total_bytes = 0;
    std::memcpy(buffer, &header, sizeof header);
  }
  void send_part(uint32_t sequence, const Draft& draft, uint32_t part, uint32_t parts) {
    const size_t start = static_cast<size_t>(part) * outgoing_.capacity;
    const size_t size = std::min(outgoing_.capacity, draft.overflow.size() - start);
    std::memcpy(outgoing_.payload(sequence & 1), draft.overflow.data() + start, size);
    put_header(sequence, draft, part, parts, size, draft.overflow.size());
    publish(sequence);
  }
  void publish(uint32_t sequence) {
    count_ += 2;
    // Sequentially consistent: the look at the bell must not overtake this store.
    outgoing_.published().store(count_ | (sequence & 1), std::memory_order_seq_cst);
    carrier_->published(outgoing_);
  }

  /// Takes in what is published: a whole message, or a part, which is taken here.
  Status accept(Message& message, bool& whole) {
    const uint32_t word = incoming_.published().load(std::memory_order_acquire);
    const uint8_t* buffer = incoming_.buffer(word & 1);
    MessageHeader header;
    std::memcpy(&header, buffer, sizeof header);
    if (check_ids_ && (header.incarnation != incarnation_ || header.session != session_)) {
      return protocol_error("a message of another session came");
    }
    if (header.payload_bytes > incoming_.capacity) {
      return protocol_error("a message claims " + std::to_string(header.payload_bytes) +
                            " bytes in a slot of " + std::to_string(incoming_.capacity));
    }
    const uint8_t* payload = buffer + message_header_bytes;
    if (header.parts == 1 && header.part == 0) {
      parts_ = 0;
      message.header = header;
      message.payload = payload;
      message.size = header.payload_bytes;
      whole = true;
      return Status();
    }
    if (Status status = add_part(header, payload); !status) return status;
    whole = next_part_ == parts_;
    if (whole) {
      message.header = first_;
      message.payload = assembled_.data();
      message.size = assembled_.size();
      parts_ = 0;
    }
    take_and_ring();
    return Status();
  }
  Status add_part(const MessageHeader& header, const uint8_t* payload) {
    if (header.part == 0) {
      if (header.total_bytes > limit_bytes_) return too_large(header.total_bytes);
      if (header.parts < 2 || header.total_bytes <= incoming_.capacity) {
        return protocol_error("a message in parts is malformed");
      }
      first_ = header;
      parts_ = header.parts;
      next_part_ = 0;
      assembled_.clear();
    } else if (parts_ == 0 || header.part != next_part_ || header.parts != parts_ ||
               header.total_bytes != first_.total_bytes || header.sequence != first_.sequence ||
               header.kind != first_.kind || header.incarnation != first_.incarnation ||
               header.session != first_.session) {
      return protocol_error("parts of a message do not belong together");
    }
    const uint64_t sum = assembled_.size() + header.payload_bytes;
    const bool last = header.part + 1 == header.parts;
    if (header.payload_bytes == 0 || sum > first_.total_bytes || (last && sum != first_.total_bytes)) {
      return protocol_error("the parts of a message do not add up");
    }
    assembled_.insert(assembled_.end(), payload, payload + header.payload_bytes);
    ++next_part_;
    return Status();
  }

  Slot outgoing_;
  Slot incoming_;
  Carrier* carrier_ = nullptr;
  uint64_t limit_bytes_ = default_max_message_bytes;
  uint64_t incarnation_ = 0;
  uint64_t session_ = 0;
  bool check_ids_ = false;
  uint32_t count_ = 0;
  uint32_t forks_ = 0;

  MessageHeader first_;
  uint32_t parts_ = 0;  // of the message that comes in parts, 0 where none does
  uint32_t next_part_ = 0;
  Bytes assembled_;
};

}  // namespace rlay::detail

namespace rlay::detail {

/// What this client can do, whatever the system.
inline constexpr uint32_t software_capabilities() {
  return capability_records | (RLAY_MAPPED_FILES ? capability_fifo : 0) | (RLAY_FUTEX ? capability_futex : 0);
}

/// The end that answers: it takes one client after the other.
class ServerEnd {
 public:
  virtual ~ServerEnd() = default;
  /// Waits for a client's HELLO. An error of code protocol or version: a client spoke, but
  /// not soundly; it is to be refused with that.
  virtual Status receive_hello(Hello& hello, Message& message, Deadline& deadline) = 0;
  /// Tells a client that it is not taken.
  virtual Status refuse(const Message& hello, const Status& why, const StopFlag* stop) = 0;
  /// Makes the slots of a session and tells the client.
  virtual Status accept(const Message& hello, Welcome welcome, uint64_t incarnation, uint64_t session,
                        uint32_t request_capacity, uint32_t reply_capacity, const StopFlag* stop) = 0;
  virtual SlotSession& session() = 0;
  virtual uint32_t peer_capabilities() const = 0;
  /// Says goodbye and lets go. Twice is harmless.
  virtual void close(Reason reason) = 0;
};

/// The end that asks.
class ClientEnd {
 public:
  virtual ~ClientEnd() = default;
  /// Begins to say HELLO; `continue_hello` says it, without waiting.
  virtual void begin_hello(const Bytes& payload, uint64_t incarnation, uint64_t session) = 0;
  virtual Status continue_hello() = 0;
  /// Whether an answer is there; a refusal is its error. The ids that this end drew are
  /// given, the others are filled in.
  virtual Status look_for_welcome(Welcome& welcome, uint64_t& incarnation, uint64_t& session,
                                  bool& there) = 0;
  /// Waits a while for the answer to come.
  virtual void rest(int64_t duration_ns) = 0;
  /// Takes over the slots that a WELCOME speaks of; each must hold its fixed area.
  virtual Status attach(const Welcome& welcome, uint64_t incarnation, uint64_t session,
                        size_t request_area, size_t reply_area) = 0;
  virtual SlotSession& session() = 0;
  virtual uint32_t peer_capabilities() const = 0;
  /// Whether the server is there; an error where it is not.
  virtual Status check() = 0;
  virtual const std::string& name() const = 0;
  /// Says goodbye and lets go. Twice is harmless.
  virtual void close(Reason reason) = 0;
};

}  // namespace rlay::detail

//------------------------------------ waiting.hpp -------------------------------------
// How an end waits: it looks for a while, then sleeps.

#if RLAY_MAPPED_FILES

namespace rlay::detail {

// Figures and reasons: docs/decisions/0003 and 0009.
inline constexpr int64_t spin_ns_default = 50000;
inline constexpr int64_t spin_ns_bridged = 400000;
inline constexpr int64_t long_yield_ns = 500000;
inline constexpr int64_t long_bridged_yield_ns = 150000;

inline long cpu_count() {
  static const long count = ::sysconf(_SC_NPROCESSORS_ONLN);
  return count;
}

/// Microseconds of RLAY_SPIN_US in nanoseconds, else the given time; 0 with one CPU.
inline int64_t spin_budget_ns(int64_t otherwise) {
  if (const char* named = std::getenv("RLAY_SPIN_US"); named && *named) {
    char* end = nullptr;
    const double us = std::strtod(named, &end);
    if (end != named && *end == '\0' && us >= 0 && us < 1e9) return static_cast<int64_t>(us * 1000);
  }
  return cpu_count() > 1 ? otherwise : 0;
}

/// Looks at one word for as long as that pays.
class Look {
 public:
  void begin(bool bridged) {
    bridged_ = bridged;
    spin_ns_ = spin_budget_ns(bridged ? spin_ns_bridged : spin_ns_default);
  }
  /// Whether the word is no longer `seen`.
  bool operator()(const std::atomic<uint32_t>& word, uint32_t seen) {
    if (spin_ns_ == 0) return false;
    if (skips_ > 0) {
      --skips_;
      return false;
    }
    const int64_t until = now_ns() + spin_ns_;
    while (true) {
      for (int i = 0; i < 8; ++i) {
        if (word.load(std::memory_order_acquire) == seen) continue;
        failures_ = 0;
        penalty_ = first_penalty;
        return true;
      }
      const int64_t before = now_ns();
      if (before >= until) break;
      ::sched_yield();
      // So long a yield gave the core to a stranger for a whole time slice.
      if (now_ns() - before > (bridged_ ? long_bridged_yield_ns : long_yield_ns)) {
        go_without(last_penalty);
        return word.load(std::memory_order_acquire) != seen;
      }
    }
    if (bridged_ && ++failures_ >= vain_looks) go_without(last_vain_penalty);
    return false;
  }

 private:
  static constexpr int first_penalty = 16;
  static constexpr int last_penalty = 4096;
  static constexpr int last_vain_penalty = 64;
  static constexpr int vain_looks = 8;

  void go_without(int most) {
    skips_ = std::min(penalty_, most);
    penalty_ = std::min(2 * penalty_, most);
  }

  bool bridged_ = false;
  int64_t spin_ns_ = 0;
  int skips_ = 0;
  int failures_ = 0;
  int penalty_ = first_penalty;
};

#if RLAY_FUTEX
inline void futex_wait(std::atomic<uint32_t>& word, uint32_t seen, int64_t limit_ns) {
  timespec limit{static_cast<time_t>(limit_ns / ns_per_s), static_cast<long>(limit_ns % ns_per_s)};
  // Shared, not private: the two ends are two processes.
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &limit, nullptr, 0);
}
inline void futex_wake(std::atomic<uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}
#endif

/// Sleeps while a word is `seen`, or for less; `rung`: whether the other end rings futexes.
inline void sleep_on(std::atomic<uint32_t>& word, uint32_t seen, int64_t limit_ns, bool rung) {
#if RLAY_FUTEX
  if (rung) return futex_wait(word, seen, limit_ns);
#else
  (void)rung;
#endif
  int64_t pause = 50000;
  const int64_t until = now_ns() + limit_ns;
  while (word.load(std::memory_order_acquire) == seen && now_ns() < until) {
    sleep_ns(std::min(pause, limit_ns));
    pause = std::min<int64_t>(2 * pause, 1000000);
  }
}

}  // namespace rlay::detail

#endif  // RLAY_MAPPED_FILES

#if RLAY_MAPPED_FILES

namespace rlay::detail {

inline constexpr Bell own_bell = RLAY_FUTEX ? Bell::futex : Bell::poll;

inline std::string program_text() {
  std::string text;
#if defined(__linux__)
  if (std::FILE* file = std::fopen("/proc/self/cmdline", "rbe")) {
    char buffer[200];
    text.assign(buffer, std::fread(buffer, 1, sizeof buffer, file));
    std::fclose(file);
    while (!text.empty() && text.back() == '\0') text.pop_back();
    std::replace(text.begin(), text.end(), '\0', ' ');
    text = text.substr(text.rfind('/', text.find(' ')) + 1);
  }
#endif
  if (text.empty() || !is_utf8(text)) text = "C++ program";
  return shortened(std::move(text), 95);
}

/// What one end says of itself: a line of the header that only it writes.
class EndLine {
 public:
  EndLine() = default;
  EndLine(uint8_t* header, End end) : line_(header + (end == End::server ? 128 : 256)) {}

  void announce() const {
    put(4, 0);
    put(8, static_cast<uint32_t>(Holder::process));
    put(12, static_cast<uint32_t>(own_bell));
    put(16, software_capabilities());
    put(20, static_cast<uint32_t>(::getpid()));
    const auto now = static_cast<uint64_t>(::time(nullptr));
    put(24, static_cast<uint32_t>(now));
    put(28, static_cast<uint32_t>(now >> 32));
    const std::string program = program_text();
    std::memset(line_ + 32, 0, 96);
    std::memcpy(line_ + 32, program.data(), program.size());
    put(0, static_cast<uint32_t>(EndState::alive));
  }
  void say_goodbye(Reason reason) const {
    put(4, static_cast<uint32_t>(reason));
    put(0, static_cast<uint32_t>(EndState::closed));
  }
  EndState state() const { return static_cast<EndState>(get(0)); }
  Reason reason() const {
    const uint32_t number = get(4);
    return number <= 7 ? static_cast<Reason>(number) : Reason::none;
  }
  Holder holder() const { return static_cast<Holder>(get(8)); }
  Bell bell() const { return static_cast<Bell>(get(12)); }
  uint32_t capabilities() const { return get(16); }
  std::string who() const {
    std::string program(reinterpret_cast<const char*>(line_) + 32, 96);
    program.resize(std::min<size_t>(program.find('\0'), program.size()));
    for (char& c : program) {
      if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7F) c = '?';
    }
    return "process " + std::to_string(get(20)) + " (" + program + ")";
  }

 private:
  void put(size_t offset, uint32_t value) const {
    word_at(line_, offset).store(value, std::memory_order_release);
  }
  uint32_t get(size_t offset) const { return word_at(line_, offset).load(std::memory_order_acquire); }

  uint8_t* line_ = nullptr;
};

inline std::string text_of(Reason reason) {
  switch (reason) {
    case Reason::none: return "without a reason";
    case Reason::closed: return "by its user";
    case Reason::draining: return "because its process shuts down";
    case Reason::environment_exited: return "because the environment ended its process";
    case Reason::protocol_error: return "after a breach of the protocol";
    case Reason::replaced: return "because a newer session took over";
    case Reason::vanished: return "because it vanished";
    case Reason::link_down: return "because the link to it was down for too long";
  }
  return "without a reason";
}

/// How long a link may be down, in nanoseconds.
inline int64_t resume_window_ns() {
  if (const char* named = std::getenv("RLAY_RESUME_WINDOW_S"); named && *named) {
    char* end = nullptr;
    const double seconds = std::strtod(named, &end);
    if (end != named && *end == '\0' && seconds >= 0 && seconds < 1e9) {
      return static_cast<int64_t>(seconds * 1e9);
    }
  }
  return 300 * ns_per_s;
}

/// Waiting and bells of one end, and whether the other one lives.
class MappedCarrier final : public Carrier {
 public:
  void begin(ChannelFiles* files, End peer_end, Descriptor probe) {
    files_ = files;
    peer_end_ = peer_end;
    probe_ = std::move(probe);
    line_ = EndLine(files->header.data(), peer_end);
    down_since_ns_ = 0;
    generation_ = fork_generation();
  }
  /// For a session: how to look depends on who holds the other end.
  void begin_session() {
    const bool bridged = line_.holder() == Holder::bridge;
    for (Look& look : looks_) look.begin(bridged);
    down_since_ns_ = 0;
  }
  /// A slot where a message means that somebody newer took the other end's place.
  void superseded_by(const Slot* greetings) { greetings_ = greetings; }
  const EndLine& line() const { return line_; }

  void published(const Slot& slot) override {
    if (slot.published_bell().load(std::memory_order_seq_cst)) ring(slot.published());
  }
  void taken(const Slot& slot) override {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (slot.taken_bell().load(std::memory_order_seq_cst)) ring(slot.taken());
  }
  /// Wakes the other end without a message, so that it sees a goodbye at once.
  void wake(const Slot& outgoing, const Slot& incoming) {
    ring(outgoing.published());
    ring(incoming.taken());
  }

  Status wait(const Slot& slot, Word which, uint32_t seen, Deadline& deadline) override {
    std::atomic<uint32_t>& word = which == Word::published ? slot.published() : slot.taken();
    std::atomic<uint32_t>& bell = which == Word::published ? slot.published_bell() : slot.taken_bell();
    if (looks_[which == Word::taken](word, seen)) return Status();
    const auto changed = [&] { return word.load(std::memory_order_acquire) != seen; };
    const bool rung = own_bell == Bell::futex && (line_.capabilities() & capability_futex) != 0;
    Status status;
    bell.store(1, std::memory_order_seq_cst);
    while (!changed()) {
      const int64_t began = now_ns();
      const int64_t slice = deadline.left_ns();
      if (slice > 0) sleep_on(word, seen, slice, rung);
      if (changed()) break;
      status = deadline.stopped() ? was_stopped() : check();
      // The other end may have published, then died: its last message counts.
      if (changed()) status = Status();
      if (!status || changed()) break;
      if (down_since_ns_) deadline.extend(now_ns() - began);
      if (deadline.over()) {
        status = timed_out("no message came in time");
        break;
      }
      bell.store(1, std::memory_order_seq_cst);
    }
    bell.store(0, std::memory_order_relaxed);
    return status;
  }

  Status check() override {
    if (files_ == nullptr || fork_generation() != generation_) return forked_error();
    const EndState state = line_.state();
    if (state == EndState::closed) return closed();
    if (state == EndState::lost) {
      return line_.reason() == Reason::link_down
                 ? Status(Code::link_down, who() + " is out of reach: the link to it was down for too long")
                 : Status(Code::peer_lost, who() + " was lost", line_.reason());
    }
    if (greetings_ && greetings_->pending()) {
      return Status(Code::peer_lost, who() + " was replaced by a newer one", Reason::replaced);
    }
    if (state != EndState::link_down && is_held(probe_.fd())) {
      down_since_ns_ = 0;
      return Status();
    }
    return missing();
  }

 private:
  std::string who() const {
    return std::string("the ") + name_of(peer_end_) + " of channel " + quoted(files_->name);
  }
  Status closed() const {
    return Status(Code::peer_closed, who() + " was closed " + text_of(line_.reason()), line_.reason());
  }
  Status missing() {
    if (line_.holder() != Holder::bridge) {
      if (line_.state() == EndState::closed) return closed();  // it said so, then let go
      return Status(Code::peer_lost,
                    who() + " is gone: " + line_.who() +
                        " ended without a goodbye (killed, crashed, or out of memory)",
                    Reason::vanished);
    }
    const int64_t now = now_ns();
    if (down_since_ns_ == 0) down_since_ns_ = now;
    if (now - down_since_ns_ > resume_window_ns()) {
      return Status(Code::link_down, "the link to " + who() + " was down for too long");
    }
    return Status();
  }
  void ring(std::atomic<uint32_t>& word) {
    switch (line_.bell()) {
      case Bell::futex:
#if RLAY_FUTEX
        futex_wake(word);
#else
        (void)word;
#endif
        break;
      case Bell::fifo: files_->ring_fifo(peer_end_); break;
      case Bell::poll: break;
    }
  }

  ChannelFiles* files_ = nullptr;
  End peer_end_ = End::client;
  Descriptor probe_;
  EndLine line_;
  const Slot* greetings_ = nullptr;
  int64_t down_since_ns_ = 0;
  uint32_t generation_ = 0;
  Look looks_[2];
};

/// Where the slots lie in a file of slots.
struct SlotGeometry {
  uint32_t request_capacity = 0;
  uint32_t reply_capacity = 0;
  uint64_t reply_offset = 0;
  uint64_t file_bytes = 0;

  static SlotGeometry of(uint32_t request_capacity, uint32_t reply_capacity) {
    SlotGeometry it;
    it.request_capacity = request_capacity;
    it.reply_capacity = reply_capacity;
    it.reply_offset = aligned(slots_header_bytes + Slot::bytes(request_capacity), 4096);
    it.file_bytes = aligned(it.reply_offset + Slot::bytes(reply_capacity), 4096);
    return it;
  }
  Slot request(uint8_t* file) const { return Slot{file + slots_header_bytes, request_capacity}; }
  Slot reply(uint8_t* file) const { return Slot{file + reply_offset, reply_capacity}; }

  void write(uint8_t* file, uint32_t generation) const {
    const uint32_t head[2] = {protocol_version, generation};
    const uint64_t offsets[2] = {slots_header_bytes, reply_offset};
    const uint32_t capacities[2] = {request_capacity, reply_capacity};
    std::memcpy(file + 8, head, 8);
    std::memcpy(file + 16, offsets, 16);
    std::memcpy(file + 32, capacities, 8);
    std::memcpy(file, "RLAYSLOT", 8);
  }
  /// Reads the head of a file, every number checked.
  static Result<SlotGeometry> read(const Mapping& file, uint32_t generation, const std::string& path) {
    uint32_t head[2], capacities[2];
    uint64_t offsets[2];
    std::memcpy(head, file.data() + 8, 8);
    std::memcpy(offsets, file.data() + 16, 16);
    std::memcpy(capacities, file.data() + 32, 8);
    const auto sound = [](uint32_t capacity) {
      return capacity >= 64 && capacity % 64 == 0 && capacity <= max_slot_payload_bytes;
    };
    const SlotGeometry it = of(capacities[0], capacities[1]);
    if (std::memcmp(file.data(), "RLAYSLOT", 8) != 0 || head[0] != protocol_version ||
        head[1] != generation || !sound(capacities[0]) || !sound(capacities[1]) ||
        offsets[0] != slots_header_bytes || offsets[1] != it.reply_offset ||
        it.file_bytes > file.size()) {
      return Status(Code::corrupt, "the head of " + path + "/slots." + std::to_string(generation) +
                                       " is not sound");
    }
    return it;
  }
};

inline Slot request_greeting(uint8_t* header) { return Slot{header + 4096, greeting_capacity}; }
inline Slot reply_greeting(uint8_t* header) { return Slot{header + 69632, greeting_capacity}; }

/// Reads what a channel's header says, every number checked.
inline Result<Paradigm> check_header(const uint8_t* header, const std::string& path) {
  const auto word = [header](size_t offset) {
    uint32_t value;
    std::memcpy(&value, header + offset, 4);
    return value;
  };
  if (std::memcmp(header, "RLAYCHAN", 8) != 0) {
    return Status(Code::corrupt, path + " is not a channel: its header has no magic");
  }
  if (word(8) != protocol_version) {
    return Status(Code::version, "the channel " + path + " is of version " + std::to_string(word(8)) +
                                     " of the protocol, this end of version " +
                                     std::to_string(protocol_version) + ": upgrade the older end");
  }
  if (word(16) != header_bytes || word(20) != greeting_slot_bytes || word(24) < 1 || word(24) > 2 ||
      word(32) > max_num_envs) {
    return Status(Code::corrupt, "the header of " + path + " is not sound");
  }
  return static_cast<Paradigm>(word(24));
}

/// The end of a channel that makes it and removes it.
class MappedServer final : public ServerEnd {
 public:
  MappedServer() = default;
  MappedServer(const MappedServer&) = delete;
  MappedServer& operator=(const MappedServer&) = delete;
  ~MappedServer() override { close(Reason::closed); }

  Status create(const std::string& name, const std::string& directory, Paradigm paradigm, uint32_t num_envs) {
    if (Status status = check_channel_name(name); !status) return status;
    auto opened = open_directory(directory, true);
    if (!opened) return opened.status();
    auto files = ChannelFiles::create(std::move(opened.value()), name);
    if (!files) return files.status();
    files_ = std::move(files.value());
    uint8_t* header = files_.header.data();
    const uint32_t words[7] = {protocol_version, protocol_minor, header_bytes, greeting_slot_bytes,
                               static_cast<uint32_t>(paradigm), 0, num_envs};
    std::memcpy(header + 8, words, sizeof words);
    std::memcpy(header, "RLAYCHAN", 8);
    line_ = EndLine(header, End::server);
    line_.announce();
    Status status;
    auto probe = files_.probe(End::client);
    if (probe) {
      greeting_carrier_.begin(&files_, End::client, std::move(probe.value()));
      requests_ = request_greeting(header);
      greetings_.begin(reply_greeting(header), requests_, &greeting_carrier_, max_greeting_bytes);
      status = files_.publish();
    } else {
      status = probe.status();
    }
    if (!status) {
      files_.remove();
      files_ = ChannelFiles();
      return status;
    }
    open_ = true;
    return status;
  }

  bool is_open() const { return open_; }

  /// Waits for a client's HELLO. An error of code protocol or version: a client spoke, but
  /// not soundly; it is to be refused with that.
  Status receive_hello(Hello& hello, Message& message, Deadline& deadline) override {
    // Nobody in particular is waited for: a client that is gone is no reason to stop.
    struct Patient final : Carrier {
      MappedCarrier* inner = nullptr;
      void published(const Slot& slot) override { inner->published(slot); }
      void taken(const Slot& slot) override { inner->taken(slot); }
      Status check() override { return Status(); }
      Status wait(const Slot& slot, Word, uint32_t seen, Deadline& patience) override {
        while (slot.published().load(std::memory_order_acquire) == seen) {
          if (patience.stopped()) return was_stopped();
          const int64_t slice = patience.left_ns();
          if (slice <= 0) return timed_out("no client came in time");
          slot.published_bell().store(1, std::memory_order_seq_cst);
          const bool rung =
              own_bell == Bell::futex && (inner->line().capabilities() & capability_futex) != 0;
          if (slot.published().load(std::memory_order_acquire) == seen) {
            sleep_on(slot.published(), seen, slice, rung);
          }
          slot.published_bell().store(0, std::memory_order_relaxed);
        }
        return Status();
      }
    } patient;
    patient.inner = &greeting_carrier_;
    SlotSession incoming;
    incoming.begin(reply_greeting(files_.header.data()), requests_, &patient, max_greeting_bytes);
    Status status = incoming.receive(message, deadline);
    if (!status && (status.code() == Code::stopped || status.code() == Code::timeout)) return status;
    if (status) {
      if (message.kind() != MessageKind::hello || message.header.sequence != 1) {
        status = protocol_error("a client said something else than HELLO");
      } else {
        status = decode(message, hello);
      }
    } else {  // not even the message is sound: it is still there
      const uint32_t word = requests_.published().load(std::memory_order_acquire);
      std::memcpy(&message.header, requests_.buffer(word & 1), sizeof message.header);
    }
    incoming.take_and_ring();
    return status;
  }

  /// Tells a client that it is not taken.
  Status refuse(const Message& hello, const Status& why, const StopFlag* stop) override {
    Bytes payload;
    if (Status status = encode_refusal(why, payload); !status) return status;
    return answer(hello, MessageKind::refusal, payload, hello.header.incarnation, hello.header.session, stop);
  }

  /// Makes the slots of a session and tells the client.
  Status accept(const Message& hello, Welcome welcome, uint64_t incarnation, uint64_t session,
                uint32_t request_capacity, uint32_t reply_capacity, const StopFlag* stop) override {
    auto probe = files_.probe(End::client);
    if (!probe) return probe.status();
    if (!slots_.data() || geometry_.request_capacity != request_capacity ||
        geometry_.reply_capacity != reply_capacity) {
      slots_.unmap();
      geometry_ = SlotGeometry::of(request_capacity, reply_capacity);
      auto made = files_.create_slots(++generation_, static_cast<size_t>(geometry_.file_bytes));
      if (!made) return made.status();
      slots_ = std::move(made.value());
      geometry_.write(slots_.data(), generation_);
    }
    const Slot request = geometry_.request(slots_.data());
    const Slot reply = geometry_.reply(slots_.data());
    std::memset(request.base, 0, slot_control_bytes);
    std::memset(reply.base, 0, slot_control_bytes);
    carrier_.begin(&files_, End::client, std::move(probe.value()));
    carrier_.superseded_by(&requests_);
    carrier_.begin_session();
    session_.begin(reply, request, &carrier_, welcome.max_message_bytes);
    session_.stamp(incarnation, session);
    uint8_t* header = files_.header.data();
    const uint64_t ids[2] = {incarnation, session};
    std::memcpy(header + 40, ids, sizeof ids);
    word_at(header, 56).store(word_at(header, 56).load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    word_at(header, 36).store(generation_, std::memory_order_release);
    welcome.generation = generation_;
    Bytes payload;
    if (Status status = encode(welcome, payload); !status) return status;
    return answer(hello, MessageKind::welcome, payload, incarnation, session, stop);
  }

  SlotSession& session() override { return session_; }
  uint32_t peer_capabilities() const override { return greeting_carrier_.line().capabilities(); }

  /// Takes away name and files, says goodbye, and lets go. Twice is harmless.
  void close(Reason reason) override {
    if (!open_) return;
    open_ = false;
    if (!files_.holds()) return;
    files_.remove();
    line_.say_goodbye(reason);
    greeting_carrier_.wake(greetings_.outgoing(), requests_);
    if (slots_.data()) carrier_.wake(geometry_.reply(slots_.data()), geometry_.request(slots_.data()));
    files_.release();
  }

 private:
  Status answer(const Message& hello, MessageKind kind, const Bytes& payload, uint64_t incarnation,
                uint64_t session, const StopFlag* stop) {
    (void)hello;
    // A client that does not read its answer for so long is given up.
    Deadline deadline(60.0, stop);
    if (Status status = greetings_.wait_until_taken(deadline); !status) return status;
    greetings_.stamp(incarnation, session);
    Draft draft;
    greetings_.draft(draft, kind, 1);
    draft.append(payload);
    if (Status status = greetings_.send(1, draft, deadline); !status) return status;
    return greetings_.wait_until_taken(deadline);
  }

  ChannelFiles files_;
  EndLine line_;
  Slot requests_;
  MappedCarrier greeting_carrier_;
  SlotSession greetings_;
  Mapping slots_;
  SlotGeometry geometry_;
  uint32_t generation_ = 0;
  MappedCarrier carrier_;
  SlotSession session_;
  bool open_ = false;
};

/// The end of a channel that opens what a server made.
class MappedClient final : public ClientEnd {
 public:
  MappedClient() = default;
  MappedClient(const MappedClient&) = delete;
  MappedClient& operator=(const MappedClient&) = delete;
  ~MappedClient() override { close(Reason::closed); }

  /// Opens a channel and holds its client end.
  Status open(const std::string& name, const std::string& directory, Paradigm& paradigm) {
    if (Status status = check_channel_name(name); !status) return status;
    auto opened = open_directory(directory, false);
    if (!opened) return opened.status();
    auto files = ChannelFiles::open(std::move(opened.value()), name);
    if (!files) return files.status();
    files_ = std::move(files.value());
    const Status status = enter(paradigm);
    if (!status) files_ = ChannelFiles();
    return status;
  }
  bool is_open() const { return open_; }

  /// Begins to say HELLO; `continue_hello` says it.
  void begin_hello(const Bytes& payload, uint64_t incarnation, uint64_t session) override {
    while (greetings_.pending()) greetings_.take_and_ring();  // what was for an earlier client
    greetings_.stamp(incarnation, session);
    greetings_.draft(hello_, MessageKind::hello, 1);
    hello_.append(payload);
    said_ = 0;
  }
  /// Says as much of a long HELLO as the server took the parts before of.
  Status continue_hello() override {
    greetings_.send_some(1, hello_, said_);
    return carrier_.check();
  }
  /// Whether an answer is there; it is the refusal's error where it is one.
  Status look_for_welcome(Welcome& welcome, uint64_t& incarnation, uint64_t& session, bool& there) override {
    there = false;
    Message message;
    bool whole = false;
    if (Status status = greetings_.receive_nowait(message, whole); !status) return status;
    if (!whole) return carrier_.check();
    const MessageHeader& header = message.header;
    const bool ours = (incarnation == 0 || incarnation == header.incarnation) &&
                      (session == 0 || session == header.session);
    Status status;
    if (ours && message.kind() == MessageKind::refusal) {
      status = decode_refusal(message);
      there = true;
    } else if (ours && message.kind() == MessageKind::welcome) {
      status = decode(message, welcome);
      there = true;
      incarnation = header.incarnation;
      session = header.session;
    } else if (ours) {
      status = protocol_error("something else than an answer came to a HELLO");
    }
    greetings_.take_and_ring();
    return status;
  }
  /// Waits a while for the answer to come.
  void rest(int64_t duration_ns) override {
    const uint32_t seen = greetings_.incoming().taken().load(std::memory_order_relaxed);
    if (greetings_.incoming().published().load(std::memory_order_acquire) != seen) return;
    Deadline deadline(static_cast<double>(duration_ns) / 1e9);
    (void)carrier_.wait(greetings_.incoming(), Carrier::Word::published, seen, deadline);
  }

  /// Maps the slots that a WELCOME speaks of.
  Status attach(const Welcome& welcome, uint64_t incarnation, uint64_t session, size_t request_area,
                size_t reply_area) override {
    auto mapped = files_.open_slots(welcome.generation);
    if (!mapped) return mapped.status();
    auto geometry = SlotGeometry::read(mapped.value(), welcome.generation, files_.path);
    if (!geometry) return geometry.status();
    if (geometry.value().request_capacity < request_area || geometry.value().reply_capacity < reply_area) {
      return Status(Code::corrupt, "the slots of channel " + quoted(files_.name) +
                                       " are smaller than its messages");
    }
    slots_ = std::move(mapped.value());
    geometry_ = geometry.value();
    carrier_.begin_session();
    session_.begin(geometry_.request(slots_.data()), geometry_.reply(slots_.data()), &carrier_,
                   std::min(welcome.max_message_bytes, default_max_message_bytes));
    session_.stamp(incarnation, session);
    return Status();
  }

  SlotSession& session() override { return session_; }
  uint32_t peer_capabilities() const override { return carrier_.line().capabilities(); }
  Status check() override { return carrier_.check(); }
  const std::string& name() const override { return files_.name; }

  void close(Reason reason) override {
    if (!open_) return;
    open_ = false;
    if (!files_.holds()) return;
    line_.say_goodbye(reason);
    carrier_.wake(greetings_.outgoing(), greetings_.incoming());
    if (slots_.data()) carrier_.wake(geometry_.request(slots_.data()), geometry_.reply(slots_.data()));
    files_.release();
  }

 private:
  Status enter(Paradigm& paradigm) {
    uint8_t* header = files_.header.data();
    auto checked = check_header(header, files_.path);
    if (!checked) return checked.status();
    paradigm = checked.value();
    auto probe = files_.probe(End::server);
    if (!probe) return probe.status();
    if (!is_held(probe.value().fd())) {
      return Status(Code::not_found, "channel " + quoted(files_.name) +
                                         " is stale: its server is gone without a goodbye");
    }
    if (Status status = files_.hold(End::client); !status) return status;
    if (!files_.is_current()) {
      files_.release();
      return Status(Code::not_found, "channel " + quoted(files_.name) + " was just replaced");
    }
    carrier_.begin(&files_, End::server, std::move(probe.value()));
    line_ = EndLine(header, End::client);
    line_.announce();
    greetings_.begin(request_greeting(header), reply_greeting(header), &carrier_, max_greeting_bytes);
    open_ = true;
    return Status();
  }

  ChannelFiles files_;
  EndLine line_;
  MappedCarrier carrier_;
  SlotSession greetings_;
  Draft hello_;
  uint32_t said_ = 0;
  Mapping slots_;
  SlotGeometry geometry_;
  SlotSession session_;
  bool open_ = false;
};

}  // namespace rlay::detail

#endif  // RLAY_MAPPED_FILES

namespace rlay::detail {

inline bool is_address(const std::string& name) {
  return name.rfind("tcp://", 0) == 0 || name.rfind("tls://", 0) == 0 || name.rfind("ws://", 0) == 0 ||
         name.rfind("wss://", 0) == 0;
}

inline Result<std::string> name_or_default(const std::string& name) {
  if (!name.empty()) return name;
  const char* variable = std::getenv("RLAY_CHANNEL");
  if (variable && *variable) return std::string(variable);
  return Status(Code::misuse, "no channel is named: give a name, or set RLAY_CHANNEL");
}

class DirectClient;

/// Where a client looks, and what for.
struct SearchOptions {
  std::string name;
  std::string directory;
  Paradigm paradigm = Paradigm::server_env;
  /// Whether the members of the group `name.*` count as well where `name` is taken.
  bool group = true;
  std::string token;
  const StopFlag* stop = nullptr;
};

/// Looks for a channel and greets its server, one look at a time, without waiting.
class Search {
 public:
  void begin(SearchOptions options, Hello hello) {
    give_up();
    options_ = std::move(options);
    hello_ = std::move(hello);
    problem_ = "no channel " + quoted(options_.name) + " exists";
  }

  /// Makes as much headway as is possible now. `end` is set once the session is there; an
  /// error is one that another look does not mend.
  ///
  /// `areas`: of requests and replies, for the size of slots; asked for with the WELCOME.
  template <class Areas>
  Status look(std::shared_ptr<ClientEnd>& end, Welcome& welcome, Areas&& areas) {
    if (!end_) {
      if (Status status = open(); !status || !end_) return status;
      Bytes payload;
      if (Status status = encode(hello_, payload); !status) return status;
      incarnation_ = session_ = 0;
      (options_.paradigm == Paradigm::server_env ? incarnation_ : session_) = draw_id();
      end_->begin_hello(payload, incarnation_, session_);
    }
    bool there = false;
    Status status = end_->continue_hello();
    if (status) status = end_->look_for_welcome(welcome, incarnation_, session_, there);
    size_t request_area = 0;
    size_t reply_area = 0;
    if (status && there) status = areas(welcome, request_area, reply_area);
    if (status && there) {
      status = end_->attach(welcome, incarnation_, session_, request_area, reply_area);
      if (status.code() == Code::not_found) status = Status(Code::peer_lost, status.message());
    }
    if (status && there) {
      end = std::move(end_);
      passed_over_.clear();
      return status;
    }
    if (status) {
      problem_ = "the server of channel " + quoted(end_->name()) +
                 " is alive but has not answered yet: a ServerEnv takes games in with reset()";
      return status;
    }
    problem_ = status.message();
    if (status.code() == Code::busy) passed_over_.push_back(end_->name());
    give_up();
    return is_passing(status.code()) ? Status() : status;
  }

  /// Waits a while before the next look; less where an answer comes.
  void rest(int64_t duration_ns);
  /// What is in the way, for messages.
  const std::string& problem() const { return problem_; }
  /// Whether the channel is there and somebody else is attached.
  bool is_busy() const { return busy_; }
  void give_up() {
    end_.reset();
    direct_.reset();
  }

 private:
  static bool is_passing(Code code) {
    return code == Code::busy || code == Code::peer_lost || code == Code::peer_closed ||
           code == Code::link_down || code == Code::draining || code == Code::not_found;
  }
  static Status other_paradigm(const std::string& name, Paradigm paradigm) {
    return Status(Code::unsupported,
                  paradigm == Paradigm::client_env
                      ? "channel " + quoted(name) + " was made by a backend, which holds an environment: "
                            "attach a ClientEnv to it, or make a ServerEnv"
                      : "channel " + quoted(name) + " was made by a ServerEnv, which waits for a game: "
                            "attach a game to it, or serve an environment");
  }
  Status open();
  Status open_address();
#if RLAY_MAPPED_FILES
  Status open_mapped_channel() {
    std::vector<std::string> names;
    const bool members_only = options_.name.size() > 2 && options_.name.substr(options_.name.size() - 2) == ".*";
    const std::string base = members_only ? options_.name.substr(0, options_.name.size() - 2) : options_.name;
    if (Status status = check_channel_name(base); !status) return status;
    if (!members_only) names.push_back(base);
    if (members_only || options_.group) {
      if (auto directory = open_directory(options_.directory, false)) {
        for (std::string& name : group_members(directory.value(), base)) names.push_back(std::move(name));
      }
    }
    const std::vector<std::string> passed_over = std::move(passed_over_);
    passed_over_.clear();
    std::string busy;
    for (const std::string& name : names) {
      if (std::find(passed_over.begin(), passed_over.end(), name) != passed_over.end()) continue;
      Paradigm paradigm = options_.paradigm;
      auto client = std::make_shared<MappedClient>();
      Status status = client->open(name, options_.directory, paradigm);
      if (status && paradigm != options_.paradigm) {
        return other_paradigm(name, paradigm);
      }
      if (status) {
        end_ = std::move(client);
        return Status();
      }
      if (status.code() == Code::busy) busy = status.message();
      if (!is_passing(status.code())) return status;
    }
    busy_ = !busy.empty();
    problem_ = busy.empty() ? "no channel " + quoted(options_.name) + " exists" : busy;
    return Status();
  }
#endif

  SearchOptions options_;
  Hello hello_;
  std::shared_ptr<ClientEnd> end_;
  std::shared_ptr<DirectClient> direct_;  // as long as it looks for its channel
  bool busy_ = false;
  uint64_t incarnation_ = 0;
  uint64_t session_ = 0;
  std::vector<std::string> passed_over_;
  std::string problem_;
};

inline constexpr int64_t look_every_ns = 20000000;

}  // namespace rlay::detail

namespace rlay {

struct BackendOptions {
  /// Of the channel, or its address at a bridge: tcp://host:port/name. Empty: RLAY_CHANNEL.
  /// Where it has a game already, the first free one of name.0, name.1 ... is taken.
  std::string name;
  /// Where channels live; empty: RLAY_DIR or the default.
  std::string directory;
  /// Seconds that `open` waits for the trainer; 0 looks once and returns, connected or not;
  /// `forever` waits without a limit.
  double connect_timeout = 30;
  /// Ends every wait within 0.1 s where it is set, from a signal handler too.
  const StopFlag* stop = nullptr;
  /// Larger messages are refused.
  uint64_t max_message_bytes = detail::default_max_message_bytes;
  /// For an address: the token of its bridge; empty: the file of RLAY_TOKEN_FILE, if set.
  std::string token;
};

/// What the trainer decided.
struct Decision {
  enum class Kind : uint8_t { none, reset, action, close };

  Kind kind = Kind::none;
  Value action;
  /// In a batch: nil, or an array of bool of those who reset now and ignore their action.
  Value reset_mask;
  ResetRequest reset;
  /// Of a Close: closed, draining, or vanished where the trainer was lost.
  Reason reason = Reason::none;

  bool is_none() const { return kind == Kind::none; }
  bool is_reset() const { return kind == Kind::reset; }
  bool is_action() const { return kind == Kind::action; }
  bool is_close() const { return kind == Kind::close; }
};

/// Asks a `ServerEnv` for decisions.
///
///     IDLE     decide(decision)               -> Reset | Close            nothing is loaded yet
///     RESET    decide(First, decision)        -> Action | Reset | Close   no tick has run
///     RUN      decide(Transition, decision)   -> Action | Reset | Close   after each action;
///                                                never Action where a flag is set
///     any      Close                          -> IDLE; the next decide waits for a trainer
///
/// Call it at each decision point, and at once when an episode ends. `report` and `poll`
/// are its twin that does not block. There is no time-out: a trainer may compute for
/// minutes; a wait ends when it is gone.
class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  ~Backend() { close(); }

  /// Says what the game is, and looks for its trainer.
  ///
  /// Code::timeout: there is none yet; the backend is open all the same, and the next
  /// `decide` or `poll` goes on looking. With `connect_timeout` 0 that is no error.
  Status open(EnvironmentFacts facts, BackendOptions options = {}) {
    close();
    auto name = detail::name_or_default(options.name);
    if (!name) return name.status();
    if (Status status = detail::check_facts(facts); !status) return status;
    facts_ = std::move(facts);
    options_ = std::move(options);
    options_.name = name.value();
    const detail::Facts packed = detail::pack_facts(facts_, false);
    auto map = packed.pack();
    if (!map) return map.status();
    auto agreement = detail::Agreement::compile(packed.observation_space, packed.action_space, packed.batch);
    if (!agreement) return agreement.status();
    agreement_ = std::move(agreement.value());
    hello_ = detail::Hello();
    hello_.paradigm = detail::Paradigm::server_env;
    hello_.environment = map.value();
    hello_.capabilities = detail::software_capabilities();
    hello_.max_message_bytes = options_.max_message_bytes;
    open_ = true;
    begin_search();
    if (Status status = connect(options_.connect_timeout); !status) {
      close();
      return status;
    }
    if (connected() || options_.connect_timeout == 0) return Status();
    return detail::timed_out(search_.problem() + ": start its trainer with rlay.ServerEnv(" +
                             detail::quoted(options_.name) + ") and the same RLAY_DIR");
  }

  bool is_open() const { return open_; }
  /// Whether a trainer has taken this game in.
  bool connected() const { return end_ != nullptr; }

  // ------------------------------------------------------------------- that block

  /// At first and after a Close: waits for the next trainer, and what it says.
  Status decide(Decision& decision) {
    if (Status status = report(); !status) return status;
    return poll(decision, forever);
  }
  /// After a Reset: the first observation of the episode.
  Status decide(const First& first, Decision& decision) {
    if (Status status = report(first); !status) return status;
    return poll(decision, forever);
  }
  /// After an Action: what it led to.
  Status decide(const Transition& transition, Decision& decision) {
    if (Status status = report(transition); !status) return status;
    return poll(decision, forever);
  }

  // ----------------------------------------------------------- that do not block

  Status report() {
    if (Status status = check_usable(); !status) return status;
    if (phase_ != Phase::idle && phase_ != Phase::unconnected) {
      return Status(Code::misuse, "an observation must be reported here");
    }
    if (!end_) return Status();
    return send([this] { return begin(detail::MessageKind::ready), writer_->ready(draft_); });
  }
  Status report(const First& first) {
    if (Status status = check_phase(Phase::resetting, "the first observation follows a Reset"); !status) {
      return status;
    }
    return send([&] { return begin(detail::MessageKind::reset_result), writer_->reset_result(draft_, first); });
  }
  Status report(const Transition& transition) {
    if (Status status = check_phase(Phase::running, "a transition follows an Action"); !status) {
      return status;
    }
    const bool ends = !agreement_.batch.vector &&
                      (transition.terminated.boolean() || transition.truncated.boolean());
    Status status =
        send([&] { return begin(detail::MessageKind::transition), writer_->transition(draft_, transition); });
    if (status) ended_ = ends;
    return status;
  }
  /// In place of a report: what went wrong in a reset or an action. The trainer's call
  /// raises it; a Reset, a call or a Close follows.
  Status report_failure(const Status& why) {
    if (Status status = check_usable(); !status) return status;
    if (phase_ != Phase::resetting && phase_ != Phase::running) {
      return Status(Code::misuse, "a failure answers a Reset or an Action");
    }
    Status status = send([&] {
      return begin(detail::MessageKind::failure), writer_->failure(draft_, detail::as_failure(why));
    });
    if (status) ended_ = true;
    return status;
  }

  /// The decision upon the last report; of kind none where there is none yet.
  ///
  /// `timeout`: seconds; 0 looks once, `forever` waits for as long as the trainer lives.
  /// What the trainer calls (render, methods, attributes) is answered here.
  Status poll(Decision& decision, double timeout = 0) {
    decision.kind = Decision::Kind::none;
    if (Status status = check_usable(); !status) return status;
    if (!end_) {
      if (Status status = connect(timeout); !status) return status;
      if (!end_) return Status();
    }
    if (requester_.state() == detail::Requester::State::idle) {
      if (phase_ != Phase::idle) return Status(Code::misuse, "nothing was reported: call report first");
      if (Status status = report(); !status) return status;
    }
    if (requester_.state() == detail::Requester::State::over) return farewell(broken_, decision);
    detail::Deadline deadline(timeout, options_.stop);
    while (true) {
      detail::Message reply;
      bool there = true;
      Status status;
      if (timeout == 0) {
        status = session().receive_nowait(reply, there);
        if (status && !there) status = end_check(reply, there);
      } else {
        status = session().receive(reply, deadline);
      }
      if (status.code() == Code::timeout || (status && !there)) return Status();
      if (!status) return farewell(std::move(status), decision);
      switch (requester_.receive(reply.header.sequence)) {
        case detail::Requester::Outcome::accept: status = read(reply, decision); break;
        case detail::Requester::Outcome::discard:
        case detail::Requester::Outcome::drop: session().take(); continue;
        case detail::Requester::Outcome::breach:
          status = detail::protocol_error("a decision came that nobody asked for");
      }
      if (!status) return farewell(std::move(status), decision);
      if (!decision.is_none()) return Status();
    }
  }

  /// Lets an environment ask for decisions until `sessions` trainers have left, 0: for
  /// ever. Blocks; this backend is closed when it returns.
  Status run(Environment& env, uint32_t sessions = 0) {
    First first;
    Transition transition;
    Decision decision;
    uint32_t served = 0;
    bool asked = false;
    Status status = decide(decision);
    while (status) {
      if (decision.is_close()) {
        served += asked || decision.reason == Reason::closed;
        asked = false;
        if (sessions && served >= sessions) break;
        status = decide(decision);
      } else if (decision.is_reset()) {
        asked = true;
        first.info = Value::map();
        Status done = env.reset(decision.reset, first);
        if (done) done = report(first);
        status = go_on(std::move(done), decision);
      } else {
        transition.reward = 0.0;
        transition.terminated = false;
        transition.truncated = false;
        transition.info = Value::map();
        Status done = decision.reset_mask.is_nil()
                          ? env.step(decision.action, transition)
                          : Status(Code::unsupported, "this environment resets none of a batch in a step");
        if (done) done = report(transition);
        status = go_on(std::move(done), decision);
      }
    }
    close(status.code() == Code::stopped ? Reason::draining : Reason::closed);
    return status;
  }

  /// Leaves the trainer. Twice is harmless.
  void close(Reason reason = Reason::closed) {
    open_ = false;
    leave(reason);
    search_.give_up();
  }

 private:
  enum class Phase : uint8_t { unconnected, idle, resetting, running };

  detail::SlotSession& session() { return end_->session(); }

  Status check_usable() const {
    return open_ ? Status() : Status(Code::misuse, "this backend is not open");
  }
  Status check_phase(Phase phase, const char* rule) const {
    if (Status status = check_usable(); !status) return status;
    return phase_ == phase ? Status() : Status(Code::misuse, std::string(rule) + "; nothing was sent");
  }

  void begin_search() {
    detail::SearchOptions options;
    options.name = options_.name;
    options.directory = options_.directory;
    options.paradigm = detail::Paradigm::server_env;
    options.token = options_.token;
    options.stop = options_.stop;
    search_.begin(std::move(options), hello_);
  }

  /// Looks for a trainer for so many seconds; ok and unconnected where there is none.
  Status connect(double timeout) {
    detail::Deadline deadline(timeout, options_.stop);
    detail::Welcome welcome;
    while (true) {
      const auto areas = [this](const detail::Welcome&, size_t& request, size_t& reply) {
        request = agreement_.reports.bytes;
        reply = agreement_.decisions.bytes;
        return Status();
      };
      if (Status status = search_.look(end_, welcome, areas); !status) return status;
      if (end_) break;
      if (deadline.stopped()) return detail::was_stopped();
      if (deadline.over()) return Status();
      search_.rest(deadline.left_ns(detail::look_every_ns));
    }
    writer_ = std::make_unique<detail::ReportWriter>(
        agreement_, (end_->peer_capabilities() & detail::capability_records) != 0);
    requester_ = detail::Requester();
    phase_ = Phase::idle;
    ended_ = false;
    broken_ = Status();
    return Status();
  }

  void begin(detail::MessageKind kind) { session().draft(draft_, kind, requester_.sequence()); }

  /// Sends what `write` puts into the draft. Where the trainer is gone `poll` says so.
  template <class Write>
  Status send(Write&& write) {
    if (requester_.state() == detail::Requester::State::waiting) {
      return Status(Code::misuse, "the last report has not been decided upon yet: call poll");
    }
    if (requester_.state() != detail::Requester::State::idle) return Status();
    const uint32_t sequence = requester_.begin();
    Status status = write();
    if (status && draft_.overflow.size() > session().limit_bytes()) {
      status = session().too_large(draft_.overflow.size());
    }
    if (!status) {
      requester_.cancel();
      return status;
    }
    detail::Deadline deadline(forever, options_.stop);
    status = session().send(sequence, draft_, deadline);
    if (status) return status;
    // Half a report is out: nothing more can be said in this session.
    requester_.lose();
    broken_ = std::move(status);
    return broken_.code() == Code::stopped ? broken_ : Status();
  }

  Status end_check(detail::Message& reply, bool& there) {
    const Status status = end_->check();
    if (status) return status;
    // The trainer may have published, then gone: its last message counts.
    if (Status last = session().receive_nowait(reply, there); !last) return last;
    return there ? Status() : status;
  }

  Status read(const detail::Message& reply, Decision& decision) {
    const detail::DecisionReader reader(agreement_);
    Status status;
    switch (reply.kind()) {
      case detail::MessageKind::step:
        if (phase_ == Phase::idle || ended_) {
          return detail::protocol_error("the trainer said Step where only Reset or Close may come");
        }
        status = reader.step(reply, decision.action, decision.reset_mask);
        if (!status) return status;
        decision.kind = Decision::Kind::action;
        phase_ = Phase::running;
        break;
      case detail::MessageKind::reset:
        status = reader.reset(reply, decision.reset);
        if (!status) return status;
        decision.kind = Decision::Kind::reset;
        phase_ = Phase::resetting;
        ended_ = false;
        break;
      case detail::MessageKind::close: {
        Reason reason = Reason::closed;
        status = detail::DecisionReader::close(reply, reason);
        if (!status) return status;
        session().take();
        leave(Reason::closed);
        decision.kind = Decision::Kind::close;
        decision.reason = reason == Reason::draining ? reason : Reason::closed;
        return Status();
      }
      case detail::MessageKind::call: return answer(reply);
      default: return detail::protocol_error("a message came that is no decision");
    }
    session().take();
    return status;
  }

  Status answer(const detail::Message& reply) {
    Call call;
    if (Status status = detail::DecisionReader::call(reply, call); !status) return status;
    session().take();
    Value result;
    Status done = detail::answer_call(facts_, call, result);
    if (done) {
      done = send([&] { return begin(detail::MessageKind::call_result), writer_->call_result(draft_, result); });
    }
    if (done || done.code() == Code::stopped) return done;
    return send([&] {
      return begin(detail::MessageKind::failure), writer_->failure(draft_, detail::as_failure(done));
    });
  }

  Status go_on(Status done, Decision& decision) {
    if (!done) {
      if (Status status = report_failure(done); !status) return status;
    }
    return poll(decision, forever);
  }

  /// The Close that a loss stands for; a breach, and a stop, are errors.
  Status farewell(Status why, Decision& decision) {
    if (why.code() == Code::stopped || why.code() == Code::misuse) return why;
    const bool breach = why.code() == Code::protocol || why.code() == Code::too_large;
    leave(breach ? Reason::protocol_error : Reason::closed);
    if (breach) return why;
    decision.kind = Decision::Kind::close;
    decision.reason = why.code() != Code::peer_closed          ? Reason::vanished
                      : why.reason() == Reason::draining ? Reason::draining
                                                         : Reason::closed;
    return Status();
  }

  void leave(Reason reason) {
    if (end_) end_->close(reason);
    end_.reset();
    phase_ = Phase::unconnected;
    ended_ = false;
    if (open_) begin_search();
  }

  bool open_ = false;
  EnvironmentFacts facts_;
  BackendOptions options_;
  detail::Agreement agreement_;
  detail::Hello hello_;
  detail::Search search_;
  std::shared_ptr<detail::ClientEnd> end_;
  std::unique_ptr<detail::ReportWriter> writer_;
  detail::Requester requester_;
  detail::Draft draft_;
  Phase phase_ = Phase::unconnected;
  bool ended_ = false;
  Status broken_;
};

}  // namespace rlay

//------------------------------------- direct.hpp -------------------------------------
// The two ends of a channel at a bridge: direct peers, without a mapped file.

//-------------------------------------- link.hpp --------------------------------------
// A link to a bridge that is made again whenever it breaks, without a thread.

//------------------------------------- frames.hpp -------------------------------------
// Frames of a link to a bridge: header, limits, maps.

//------------------------------------ digests.hpp -------------------------------------
// CRC-32, SHA-256 and HMAC: what a link checks and proves itself with.

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

namespace rlay::detail {

#if defined(_WIN32)
using Socket = SOCKET;
inline constexpr Socket no_socket = INVALID_SOCKET;
inline void close_socket(Socket socket) { ::closesocket(socket); }
inline int socket_error() { return ::WSAGetLastError(); }
inline bool would_block(int error) { return error == WSAEWOULDBLOCK; }
inline bool in_progress(int error) { return error == WSAEWOULDBLOCK; }
inline std::string socket_text(int error) { return "error " + std::to_string(error); }
inline void set_nonblocking(Socket socket) {
  u_long on = 1;
  ::ioctlsocket(socket, FIONBIO, &on);
}
inline int poll_socket(Socket socket, bool writing, int64_t wait_ns) {
  WSAPOLLFD entry{socket, static_cast<SHORT>(POLLIN | (writing ? POLLOUT : 0)), 0};
  return ::WSAPoll(&entry, 1, static_cast<int>((wait_ns + 999999) / 1000000));
}
struct SocketLibrary {
  SocketLibrary() {
    WSADATA data;
    ::WSAStartup(MAKEWORD(2, 2), &data);
  }
};
inline void use_sockets() { static const SocketLibrary library; }
inline int64_t receive_some(Socket socket, void* target, size_t room) {
  return ::recv(socket, static_cast<char*>(target), static_cast<int>(std::min<size_t>(room, INT_MAX)), 0);
}
inline int64_t send_some(Socket socket, const void* data, size_t size) {
  return ::send(socket, static_cast<const char*>(data), static_cast<int>(std::min<size_t>(size, INT_MAX)), 0);
}
#else
using Socket = int;
inline constexpr Socket no_socket = -1;
inline void close_socket(Socket socket) { ::close(socket); }
inline int socket_error() { return errno; }
inline bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }
inline bool in_progress(int error) { return error == EINPROGRESS || error == EINTR; }
inline std::string socket_text(int error) { return system_text(error); }
inline void set_nonblocking(Socket socket) {
  ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) | O_NONBLOCK);
  ::fcntl(socket, F_SETFD, FD_CLOEXEC);
}
inline int poll_socket(Socket socket, bool writing, int64_t wait_ns) {
  pollfd entry{socket, static_cast<short>(POLLIN | (writing ? POLLOUT : 0)), 0};
  return ::poll(&entry, 1, static_cast<int>((wait_ns + 999999) / 1000000));
}
inline void use_sockets() {}
inline int64_t receive_some(Socket socket, void* target, size_t room) { return ::recv(socket, target, room, 0); }
inline int64_t send_some(Socket socket, const void* data, size_t size) {
#if defined(MSG_NOSIGNAL)
  return ::send(socket, data, size, MSG_NOSIGNAL);
#else
  return ::send(socket, data, size, 0);  // SO_NOSIGPIPE is set
#endif
}
#endif

/// A channel at a bridge: tcp://host:port/name.
struct Address {
  std::string host;
  std::string port = "7450";
  std::string name;

  std::string endpoint() const { return host + ":" + port; }

  static Result<Address> parse(const std::string& text, bool group) {
    const auto wrong = [&text](const std::string& why) {
      return Status(Code::misuse, quoted(text) + " is no address of a channel: " + why);
    };
    if (text.rfind("tcp://", 0) != 0) {
      return Status(Code::unsupported,
                    quoted(text) + ": this client attaches by tcp:// only; where the way to the bridge must be "
                                   "secret, run a bridge on this machine and name the channel");
    }
    const std::string rest = text.substr(6);
    const size_t slash = rest.find('/');
    if (slash == std::string::npos) return wrong("it names no channel: write one behind the port, as in /x");
    Address address;
    address.name = rest.substr(slash + 1);
    std::string place = rest.substr(0, slash);
    if (!place.empty() && place[0] == '[') {
      const size_t end = place.find(']');
      if (end == std::string::npos) return wrong("a bracket is not closed");
      address.host = place.substr(1, end - 1);
      place = place.substr(end + 1);
    } else {
      const size_t colon = place.find(':');
      address.host = place.substr(0, colon);
      place = colon == std::string::npos ? "" : place.substr(colon);
    }
    if (!place.empty()) address.port = place.substr(1);
    const bool digits = !address.port.empty() && address.port.size() <= 5 &&
                        address.port.find_first_not_of("0123456789") == std::string::npos;
    if (address.host.empty() || !digits || (!place.empty() && place[0] != ':') ||
        std::atoi(address.port.c_str()) < 1 || std::atoi(address.port.c_str()) > 65535) {
      return wrong("a host and a port are meant, as in tcp://localhost:7450/x");
    }
    std::string base = address.name;
    if (group && base.size() > 2 && base.substr(base.size() - 2) == ".*") base.resize(base.size() - 2);
    if (Status status = check_channel_name(base); !status) return wrong(status.message());
    return address;
  }
};

/// Reads a token: given, or the file of RLAY_TOKEN_FILE.
inline Status load_token(const std::string& given, Bytes& token) {
  token.assign(given.begin(), given.end());
  if (given.empty()) {
    const char* path = std::getenv("RLAY_TOKEN_FILE");
    if (!path || !*path) return Status();
    std::FILE* file = std::fopen(path, "rb");
    if (!file) return Status(Code::auth, std::string("the token ") + path + " cannot be opened");
    char buffer[4097];
    const size_t size = std::fread(buffer, 1, sizeof buffer, file);
    std::fclose(file);
    token.assign(buffer, buffer + size);
    if (!token.empty() && token.back() == '\n') token.pop_back();
    if (!token.empty() && token.back() == '\r') token.pop_back();
  }
  if (token.size() < min_token_bytes || token.size() > 4096) {
    return Status(Code::auth, "a token has 16 to 4096 bytes: make one with rlay token new");
  }
  return Status();
}

/// Whom a link serves. It is called from `Link::pump` only.
class LinkOwner {
 public:
  virtual ~LinkOwner() = default;
  virtual void link_is_up() = 0;
  virtual void link_is_down() = 0;
  /// Where the body of a DATA goes: nullptr where it is dropped.
  virtual Status place(const Frame& frame, uint8_t*& target) = 0;
  /// Takes a frame, its body complete; that of a placed one is where it was placed.
  virtual Status deliver(const Frame& frame, const uint8_t* body) = 0;
  /// Called now and then while nothing comes.
  virtual void idle() {}
};

/// Frames to and from a bridge. Whoever waits drives it, by `pump`.
class Link {
 public:
  Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link() { drop(); }

  Status begin(Address address, const std::string& token, LinkOwner* owner) {
    use_sockets();
    address_ = std::move(address);
    owner_ = owner;
    greeting_.id = draw_id();
    char name[256] = "";
    ::gethostname(name, sizeof name - 1);
    greeting_.machine = shortened(is_utf8(name) ? name : "", 64);
    greeting_.crc = address_.host != "127.0.0.1" && address_.host != "localhost" && address_.host != "::1";
    return load_token(token, greeting_.token);
  }

  const Address& address() const { return address_; }
  bool up() const { return state_ == State::up; }
  bool has_crc() const { return greeting_.has_crc; }
  /// An error that another attempt does not mend: a wrong token, another version.
  const Status& fatal() const { return fatal_; }
  const std::string& problem() const { return problem_; }
  int64_t resume_window_ns() const { return greeting_.resume_window_ms * 1000000; }
  /// Dial again soon, should this connection break: it was of use.
  void succeeded() { pause_ns_ = first_pause_ns; }

  /// Does what there is to do; returns whether anything came or changed. Waits no longer
  /// than `wait_ns`, but for the look-up of a host's name.
  bool pump(int64_t wait_ns) {
    if (closed_ || !fatal_.ok()) {
      sleep_ns(wait_ns);
      return false;
    }
    switch (state_) {
      case State::resting: return dial(wait_ns);
      case State::connecting: return connect_further(wait_ns);
      default: return exchange(wait_ns);
    }
  }

  void send(Frame frame, const uint8_t* body, size_t size) {
    if (state_ == State::resting || state_ == State::connecting || closed_) return;
    frame.body_bytes = static_cast<uint32_t>(size);
    if (frame.total == 0) frame.total = static_cast<uint32_t>(size);
    if (state_ == State::up && greeting_.has_crc && size) {
      frame.flags = frame_flag_crc;
      frame.body_crc = crc32(body, size);
    }
    seal(frame);
    write(reinterpret_cast<const uint8_t*>(&frame), sizeof frame, body, size);
  }
  void send(FrameType type, const Bytes& body, uint32_t channel = 0, uint64_t incarnation = 0,
            uint64_t session = 0, uint32_t sequence = 0, uint32_t publication = 0) {
    Frame frame;
    frame.type = type;
    frame.channel = channel;
    frame.incarnation = incarnation;
    frame.session = session;
    frame.sequence = sequence;
    frame.publication = publication;
    send(frame, body.data(), body.size());
  }

  /// Sends what waits, says goodbye and closes, within two seconds. Twice is harmless.
  void close() {
    if (closed_) return;
    if (up()) {
      const int64_t until = now_ns() + 2 * ns_per_s;
      send(FrameType::bye, Ending{EndState::closed, Reason::closed}.pack());
      while (!flush() && now_ns() < until) poll_socket(socket_, true, slice_ns);
#if defined(_WIN32)
      ::shutdown(socket_, SD_SEND);
#else
      ::shutdown(socket_, SHUT_WR);
#endif
      // A connection that is closed with bytes unread takes the last words with it.
      char rest[4096];
      while (now_ns() < until) {
        const auto got = receive_some(socket_, rest, sizeof rest);
        if (got == 0 || (got < 0 && !would_block(socket_error()))) break;
        if (got < 0) poll_socket(socket_, false, slice_ns);
      }
    }
    drop();
  }
  void drop() {
    closed_ = true;
    disconnect();
  }

 private:
  enum class State : uint8_t { resting, connecting, challenged, proving, up };

  static constexpr int64_t first_pause_ns = 100000000;
  static constexpr int64_t last_pause_ns = 5 * ns_per_s;
  static constexpr int64_t stage_ns = 5 * ns_per_s;
  static constexpr int64_t not_looked_ns = ns_per_s;

  // ------------------------------------------------------------------------ dialing

  bool dial(int64_t wait_ns) {
    const int64_t now = now_ns();
    if (now < rest_until_ns_) {
      sleep_ns(std::min(wait_ns, rest_until_ns_ - now));
      return false;
    }
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failed = ::getaddrinfo(address_.host.c_str(), address_.port.c_str(), &hints, &found);
    if (failed || !found) {
      rest("the name " + quoted(address_.host) + " is not known");
      return false;
    }
    // Each attempt takes the next of a name's addresses.
    addrinfo* chosen = found;
    for (size_t i = attempts_++; i > 0; --i) chosen = chosen->ai_next ? chosen->ai_next : found;
    socket_ = ::socket(chosen->ai_family, chosen->ai_socktype, chosen->ai_protocol);
    bool failed_at_once = socket_ == no_socket;
    if (!failed_at_once) {
      set_nonblocking(socket_);
#if RLAY_MAPPED_FILES
      ForkGuard::add(socket_);
      generation_ = ForkGuard::generation();
#endif
      failed_at_once = ::connect(socket_, chosen->ai_addr, static_cast<socklen_t>(chosen->ai_addrlen)) != 0 &&
                       !in_progress(socket_error());
    }
    const std::string why = failed_at_once ? socket_text(socket_error()) : "";
    ::freeaddrinfo(found);
    if (failed_at_once) {
      rest("no bridge answers at " + address_.endpoint() + ": " + why);
      return false;
    }
    state_ = State::connecting;
    stage_until_ns_ = now_ns() + stage_ns;
    return connect_further(wait_ns);
  }

  bool connect_further(int64_t wait_ns) {
#if defined(_WIN32)
    WSAPOLLFD entry{socket_, POLLOUT, 0};
    const int ready = ::WSAPoll(&entry, 1, static_cast<int>(wait_ns / 1000000));
#else
    pollfd entry{socket_, POLLOUT, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>((wait_ns + 999999) / 1000000));
#endif
    if (ready <= 0) {
      if (now_ns() > stage_until_ns_) rest(address_.endpoint() + " does not answer");
      return false;
    }
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket_, SOL_SOCKET, SO_ERROR, reinterpret_cast<char*>(&error), &size);
    if (error) {
      rest("no bridge answers at " + address_.endpoint() + ": " + socket_text(error));
      return false;
    }
    set_options();
    received_ = handled_ = header_filled_ = 0;
    body_left_ = 0;
    in_body_ = false;
    pending_.clear();
    state_ = State::challenged;
    stage_until_ns_ = now_ns() + stage_ns;
    greeting_.nonce.clear();
    std::random_device device;
    for (size_t i = 0; i < nonce_bytes; ++i) greeting_.nonce.push_back(static_cast<uint8_t>(device()));
    send(FrameType::hello, greeting_.write_hello());
    return true;
  }

  void set_options() {
    const int on = 1;
    const auto set = [this](int level, int option, int value) {
      ::setsockopt(socket_, level, option, reinterpret_cast<const char*>(&value), sizeof value);
    };
    set(IPPROTO_TCP, TCP_NODELAY, on);
    set(SOL_SOCKET, SO_KEEPALIVE, on);
#if defined(__linux__)
    set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
    set(IPPROTO_TCP, TCP_KEEPINTVL, 2);
    set(IPPROTO_TCP, TCP_KEEPCNT, 3);
    set(IPPROTO_TCP, TCP_USER_TIMEOUT, 10000);
#endif
#if defined(SO_NOSIGPIPE)
    set(SOL_SOCKET, SO_NOSIGPIPE, on);
#endif
  }

  void disconnect() {
    if (socket_ != no_socket) {
#if RLAY_MAPPED_FILES
      if (generation_ == ForkGuard::generation()) {
        ForkGuard::remove(socket_);
        close_socket(socket_);
      }
#else
      close_socket(socket_);
#endif
    }
    socket_ = no_socket;
    state_ = State::resting;
  }

  /// Gives a connection up; the next attempt follows after a pause that grows.
  void rest(std::string problem) {
    const bool was_up = up();
    problem_ = std::move(problem);
    disconnect();
    const auto part = static_cast<double>(draw_id() % 1000) / 2000.0;
    rest_until_ns_ = now_ns() + static_cast<int64_t>(static_cast<double>(pause_ns_) * (0.5 + part));
    pause_ns_ = std::min(2 * pause_ns_, last_pause_ns);
    if (was_up) owner_->link_is_down();
  }
  void give_up(Status why) {
    Value note = Value::map();
    note.set("code", static_cast<uint32_t>(why.code()));
    note.set("message", shortened(why.message(), 700));
    if (why.code() == Code::version) note.set("version", 1);
    if (static_cast<uint32_t>(why.code()) < 0x8000 && socket_ != no_socket) {
      send(FrameType::error, pack_map(note));
      flush();
    }
    const bool final = why.code() == Code::auth || why.code() == Code::version;
    const std::string text = "the link to " + address_.endpoint() + " broke: " + why.message();
    if (final) fatal_ = Status(why.code(), text);
    rest(text);
  }

  // ------------------------------------------------------------------------ sending

  void write(const uint8_t* head, size_t head_bytes, const uint8_t* body, size_t body_bytes) {
    if (pending_.empty() && head_bytes + body_bytes <= sizeof small_) {
      // One system call, and one packet, for what is small.
      std::memcpy(small_, head, head_bytes);
      if (body_bytes) std::memcpy(small_ + head_bytes, body, body_bytes);
      const size_t total = head_bytes + body_bytes;
      const size_t sent = write_now(small_, total);
      pending_.insert(pending_.end(), small_ + sent, small_ + total);
      return;
    }
    if (pending_.empty()) {
      const size_t sent = write_now(head, head_bytes);
      head += sent;
      head_bytes -= sent;
      if (head_bytes == 0) {
        const size_t more = write_now(body, body_bytes);
        body += more;
        body_bytes -= more;
      }
    }
    pending_.insert(pending_.end(), head, head + head_bytes);
    if (body_bytes) pending_.insert(pending_.end(), body, body + body_bytes);
  }
  size_t write_now(const uint8_t* data, size_t size) {
    size_t sent = 0;
    while (sent < size) {
      const auto done = send_some(socket_, data + sent, size - sent);
      if (done <= 0) break;  // reading finds out where the connection is gone
      sent += static_cast<size_t>(done);
    }
    return sent;
  }
  /// Whether nothing waits any more.
  bool flush() {
    const size_t sent = write_now(pending_.data(), pending_.size());
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(sent));
    return pending_.empty();
  }

  // ---------------------------------------------------------------------- receiving

  bool exchange(int64_t wait_ns) {
    const auto waiting = [this] { return !pending_.empty() && !flush(); };
    bool blocked = waiting();
    uint8_t* target = buffer_;
    size_t room = sizeof buffer_;
    received_ = handled_ = 0;
    if (in_body_ && body_at_) {  // the rest of a large body goes where it belongs
      target = body_at_;
      room = body_left_;
    }
    auto got = receive_some(socket_, target, room);
    if (got < 0 && would_block(socket_error()) && wait_ns > 0) {
      poll_socket(socket_, blocked, wait_ns);
      if (blocked) blocked = waiting();
      got = receive_some(socket_, target, room);
    }
    if (got < 0 && would_block(socket_error())) {
      nothing_came();
      return false;
    }
    if (got <= 0) {
      if (state_ != State::up && ++silent_ends_ >= 3) {
        give_up(Status(Code::auth, "the bridge ends the greeting: a certificate, a token or a limit"));
      } else {
        rest("the bridge at " + address_.endpoint() + " ended the connection");
      }
      return true;
    }
    quiet_since_ns_ = 0;
    Status status;
    if (target == body_at_ && in_body_) {
      body_at_ += got;
      body_left_ -= static_cast<size_t>(got);
      if (body_left_ == 0) status = finish_frame();
    } else {
      received_ = static_cast<size_t>(got);
      status = handle();
    }
    if (!status) give_up(std::move(status));
    return true;
  }

  /// Takes frames out of what was received.
  Status handle() {
    while (handled_ < received_) {
      if (!in_body_) {
        const size_t part = std::min(received_ - handled_, frame_header_bytes - header_filled_);
        std::memcpy(header_ + header_filled_, buffer_ + handled_, part);
        header_filled_ += part;
        handled_ += part;
        if (header_filled_ < frame_header_bytes) break;
        header_filled_ = 0;
        std::memcpy(&frame_, header_, sizeof frame_);
        if (Status status = begin_frame(); !status) return status;
        if (body_left_ > 0) continue;
      } else {
        const size_t part = std::min(received_ - handled_, body_left_);
        if (body_at_) {
          std::memcpy(body_at_, buffer_ + handled_, part);
          body_at_ += part;
        }
        body_left_ -= part;
        handled_ += part;
        if (body_left_ > 0) break;
      }
      if (Status status = finish_frame(); !status) return status;
      if (state_ == State::resting) break;
    }
    return Status();
  }

  Status begin_frame() {
    if (Status status = check_frame(frame_); !status) return status;
    const auto type = static_cast<uint8_t>(frame_.type);
    if (state_ != State::up) {
      const FrameType awaited = state_ == State::challenged ? FrameType::challenge : FrameType::welcome;
      if (frame_.type != awaited && frame_.type != FrameType::error) {
        return protocol_error("a frame came that is not awaited in the greeting");
      }
    } else if (type <= 4) {
      return protocol_error("a frame of the greeting came after it");
    }
    in_body_ = true;
    body_left_ = frame_.body_bytes;
    uint8_t* target = nullptr;
    if (frame_.type == FrameType::data) {
      if (Status status = owner_->place(frame_, target); !status) return status;
      dropped_ = target == nullptr;
    } else {
      dropped_ = false;
      body_.resize(frame_.body_bytes);
      target = body_.data();
    }
    body_begin_ = body_at_ = target;
    return Status();
  }

  Status finish_frame() {
    in_body_ = false;
    if (dropped_) return Status();
    const uint8_t* body = body_begin_;
    if ((frame_.flags & frame_flag_crc) && crc32(body, frame_.body_bytes) != frame_.body_crc) {
      return Status(Code::corrupt, "the body of a frame was damaged on its way");
    }
    if (frame_.type == FrameType::data && greeting_.has_crc && !(frame_.flags & frame_flag_crc)) {
      return protocol_error("a message came without the CRC that was agreed upon");
    }
    const size_t size = frame_.body_bytes;
    switch (frame_.type) {
      case FrameType::error: return note_error(body, size);
      case FrameType::challenge: {
        Bytes proof;
        if (Status status = greeting_.answer(body, size, proof); !status) return status;
        state_ = State::proving;
        send(FrameType::proof, proof);
        return Status();
      }
      case FrameType::welcome:
        if (Status status = greeting_.finish(body, size); !status) return status;
        state_ = State::up;
        silent_ends_ = 0;
        quiet_since_ns_ = looked_ns_ = now_ns();
        owner_->link_is_up();
        return Status();
      case FrameType::ping:
        if (size != 8) return protocol_error("a PING is malformed");
        send(FrameType::pong, Bytes(body, body + size));
        return Status();
      case FrameType::bye: return Status(Code::peer_closed, "the bridge said goodbye");
      case FrameType::drain: return Status();
      default: return owner_->deliver(frame_, body);
    }
  }

  void nothing_came() {
    const int64_t now = now_ns();
    if (state_ != State::up) {
      if (now > stage_until_ns_) rest("the bridge at " + address_.endpoint() + " does not greet");
      return;
    }
    // Who looks more rarely cannot know for how long nothing came.
    if (quiet_since_ns_ == 0 || now - looked_ns_ > not_looked_ns) quiet_since_ns_ = pinged_ns_ = now;
    looked_ns_ = now;
    if (now - quiet_since_ns_ >= greeting_.dead_after_ms * 1000000) {
      rest("nothing came from " + address_.endpoint() + " for " +
           std::to_string(greeting_.dead_after_ms) + " ms");
      return;
    }
    if (now - pinged_ns_ >= greeting_.heartbeat_ms * 1000000) {
      pinged_ns_ = now;
      send(FrameType::ping, Bytes(8));
    }
    owner_->idle();
  }

  Address address_;
  LinkOwner* owner_ = nullptr;
  LinkGreeting greeting_;
  State state_ = State::resting;
  Socket socket_ = no_socket;
  uint32_t generation_ = 0;
  bool closed_ = false;
  Status fatal_;
  std::string problem_ = "no bridge has answered yet";
  size_t attempts_ = 0;
  int silent_ends_ = 0;
  int64_t pause_ns_ = first_pause_ns;
  int64_t rest_until_ns_ = 0;
  int64_t stage_until_ns_ = 0;
  int64_t quiet_since_ns_ = 0;
  int64_t looked_ns_ = 0;
  int64_t pinged_ns_ = 0;
  Bytes pending_;
  uint8_t small_[4096];

  uint8_t buffer_[65536];
  size_t received_ = 0;
  size_t handled_ = 0;
  uint8_t header_[frame_header_bytes];
  size_t header_filled_ = 0;
  Frame frame_;
  bool in_body_ = false;
  bool dropped_ = false;
  size_t body_left_ = 0;
  uint8_t* body_begin_ = nullptr;
  uint8_t* body_at_ = nullptr;
  Bytes body_;
};

}  // namespace rlay::detail

namespace rlay::detail {

/// Whether one word `published` came after another one: bit 0 names a buffer, the rest counts.
inline bool is_newer(uint32_t word, uint32_t than) {
  const uint32_t distance = ((word >> 1) - (than >> 1)) & 0x7FFFFFFFU;
  return distance > 0 && distance < 0x40000000U;
}

/// The memory of a slot in this process.
class PrivateSlot {
 public:
  void make(size_t capacity) {
    memory_.assign(Slot::bytes(capacity) + 64, 0);
    auto* first = memory_.data();
    slot_ = Slot{first + (64 - reinterpret_cast<uintptr_t>(first) % 64) % 64, capacity};
  }
  const Slot& slot() const { return slot_; }

 private:
  Bytes memory_;
  Slot slot_;
};

/// What both ends have in common: the link, the slots of a session, and what moves between
/// them. A publication stays in its buffer until the far reader took it, so what a broken
/// link has lost can be sent again.
class DirectEnd : public Carrier, public LinkOwner {
 public:
  // --------------------------------------------------------------------- as a Carrier

  void published(const Slot&) override { send_published(); }
  void taken(const Slot&) override { send_taken(); }
  void look() override { link_.pump(0); }

  Status wait(const Slot& slot, Word which, uint32_t seen, Deadline& deadline) override {
    const std::atomic<uint32_t>& word = which == Word::published ? slot.published() : slot.taken();
    const auto changed = [&] { return word.load(std::memory_order_relaxed) != seen; };
    const int64_t spin_until = now_ns() + spin_ns_;
    while (!changed() && now_ns() < spin_until) link_.pump(0);
    while (!changed()) {
      const int64_t began = now_ns();
      link_.pump(deadline.left_ns());
      if (changed()) break;
      if (deadline.stopped()) return was_stopped();
      Status status = state();
      if (!status) return status;
      if (!attached_) deadline.extend(now_ns() - began);
      if (deadline.over()) return timed_out("no message came in time");
    }
    return Status();
  }
  Status check() override {
    if (ended_.ok()) link_.pump(0);
    return state();
  }

  // --------------------------------------------------------------------- as a LinkOwner

  void link_is_down() override {
    channel_ = 0;
    if (has_session_) attached_ = false;
    if (down_since_ns_ == 0) down_since_ns_ = now_ns();
  }
  Status place(const Frame& frame, uint8_t*& target) override {
    target = nullptr;
    if (!is_session(frame)) return Status();
    const Slot& slot = incoming();
    const uint32_t published = slot.published().load(std::memory_order_relaxed);
    if (!is_newer(frame.publication, published)) {
      if (frame.publication == slot.taken().load(std::memory_order_relaxed) && frame.is_last()) send_taken();
      return Status();
    }
    if (slot.taken().load(std::memory_order_relaxed) != published) {
      return protocol_error("a message came before the last one was taken");
    }
    if (frame.total > message_header_bytes + slot.capacity) {
      return Status(Code::too_large, "a message exceeds its slot");
    }
    if (frame.offset != 0 && (coming_ != frame.publication || coming_offset_ != frame.offset)) {
      return protocol_error("a piece of a message does not follow the one before");
    }
    target = slot.buffer(frame.publication & 1) + frame.offset;
    return Status();
  }
  Status deliver(const Frame& frame, const uint8_t* body) override {
    switch (frame.type) {
      case FrameType::data: return take_data(frame);
      case FrameType::taken: {
        const Slot& slot = outgoing();
        if (is_session(frame) && frame.publication == slot.published().load(std::memory_order_relaxed)) {
          slot.taken().store(frame.publication, std::memory_order_relaxed);
        }
        return Status();
      }
      case FrameType::open:
      case FrameType::opened:
      case FrameType::refused:
        if (Status status = add_piece(frame, body); !status || !frame.is_last()) return status;
        return take_opening(frame);
      default: return take_frame(frame, body);
    }
  }

 protected:
  /// An OPEN, OPENED or REFUSED that is whole in `pieces_`.
  virtual Status take_opening(const Frame& frame) = 0;
  virtual Status take_frame(const Frame& frame, const uint8_t* body) = 0;

  const Slot& outgoing() const { return is_client_ ? request_.slot() : reply_.slot(); }
  const Slot& incoming() const { return is_client_ ? reply_.slot() : request_.slot(); }

  void make_slots(uint32_t request_capacity, uint32_t reply_capacity, uint64_t incarnation, uint64_t session) {
    request_.make(request_capacity);
    reply_.make(reply_capacity);
    incarnation_ = incarnation;
    id_ = session;
    has_session_ = attached_ = true;
    coming_ = coming_offset_ = 0;
    ended_ = Status();
    down_since_ns_ = 0;
  }
  bool is_session(const Frame& frame) const {
    return has_session_ && frame.incarnation == incarnation_ && frame.session == id_;
  }
  /// The far end is gone: the first word counts.
  void end(Status why) {
    if (ended_.ok()) ended_ = std::move(why);
  }
  void end(const Ending& ending, const char* who) {
    if (ending.state == EndState::closed) {
      end(Status(Code::peer_closed, std::string(who) + " was closed", ending.reason));
    } else if (ending.reason == Reason::link_down) {
      end(Status(Code::link_down, std::string(who) + " is out of reach: the link to it was down for too long, or "
                                                     "a bridge that was restarted does not know this session"));
    } else {
      end(Status(Code::peer_lost, std::string(who) + " was lost", ending.reason));
    }
  }
  Status state() {
    if (!ended_.ok()) return ended_;
    if (!link_.fatal().ok()) return ended_ = link_.fatal();
    if (down_since_ns_ == 0 || !has_session_) return Status();
    if (now_ns() - down_since_ns_ > link_.resume_window_ns()) {
      ended_ = Status(Code::link_down, "the link was down for too long: " + link_.problem());
    }
    return ended_;
  }
  void send_opening(FrameType type, uint32_t request_capacity, uint32_t reply_capacity, uint32_t generation,
                    const Bytes& payload, uint64_t incarnation, uint64_t session) {
    const uint32_t prefix[4] = {capability_records, request_capacity, reply_capacity, generation};
    Bytes whole(opening_bytes);
    std::memcpy(whole.data(), prefix, opening_bytes);
    whole.insert(whole.end(), payload.begin(), payload.end());
    for (size_t offset = 0; offset < whole.size(); offset += max_body_bytes) {
      Frame frame;
      frame.type = type;
      frame.channel = channel_;
      frame.incarnation = incarnation;
      frame.session = session;
      frame.offset = static_cast<uint32_t>(offset);
      frame.total = static_cast<uint32_t>(whole.size());
      link_.send(frame, whole.data() + offset, std::min<size_t>(max_body_bytes, whole.size() - offset));
    }
  }
  struct Opening {
    uint32_t capabilities, request_capacity, reply_capacity, generation;
  };
  Opening opening() const {
    Opening it;
    std::memcpy(&it, pieces_.data(), sizeof it);
    return it;
  }
  Bytes slot_words() const {
    const uint32_t words[4] = {request_.slot().published().load(), request_.slot().taken().load(),
                               reply_.slot().published().load(), reply_.slot().taken().load()};
    Bytes out(sizeof words);
    std::memcpy(out.data(), words, sizeof words);
    return out;
  }
  /// Goes on over a new connection: sends again what the far end has not.
  Status resume(const Frame& frame, const uint8_t* body) {
    uint32_t words[4];
    if (frame.body_bytes != sizeof words) return protocol_error("slot words are malformed");
    std::memcpy(words, body, sizeof words);
    const uint32_t published = words[is_client_ ? 0 : 2];
    const uint32_t taken_there = words[is_client_ ? 1 : 3];
    const Slot& slot = outgoing();
    coming_ = coming_offset_ = 0;
    attached_ = true;
    down_since_ns_ = 0;
    if (published != slot.published().load()) {
      if (slot.taken().load() != slot.published().load()) send_published();
    } else if (taken_there == published) {
      slot.taken().store(published);
    }
    return Status();
  }
  /// Says that what came last was taken, before a goodbye: in lock step nobody says so.
  void tell_taken() {
    if (!has_session_) return;
    const uint32_t word = incoming().taken().load();
    if (word != 0 && word == incoming().published().load()) send_taken();
  }

  bool is_client_ = false;
  Link link_;
  uint32_t channel_ = 0;  // its number on the present connection; 0: none
  uint32_t peer_capabilities_ = 0;
  uint64_t incarnation_ = 0;
  uint64_t id_ = 0;
  bool has_session_ = false;
  bool attached_ = false;
  int64_t down_since_ns_ = 0;
  Status ended_;
  SlotSession session_;
  Bytes pieces_;  // of an OPEN, OPENED or REFUSED

 private:
  void send_published() {
    if (!attached_) return;
    const Slot& slot = outgoing();
    const uint32_t word = slot.published().load();
    const uint8_t* message = slot.buffer(word & 1);
    MessageHeader header;
    std::memcpy(&header, message, sizeof header);
    const size_t total = message_header_bytes + header.payload_bytes;
    for (size_t offset = 0; offset < total; offset += max_body_bytes) {
      Frame frame;
      frame.type = FrameType::data;
      frame.channel = channel_;
      frame.incarnation = incarnation_;
      frame.session = id_;
      frame.sequence = header.sequence;
      frame.publication = word;
      frame.offset = static_cast<uint32_t>(offset);
      frame.total = static_cast<uint32_t>(total);
      link_.send(frame, message + offset, std::min<size_t>(max_body_bytes, total - offset));
    }
  }
  void send_taken() {
    if (!attached_) return;
    link_.send(FrameType::taken, Bytes(), channel_, incarnation_, id_, 0, incoming().taken().load());
  }
  Status take_data(const Frame& frame) {
    if (!frame.is_last()) {
      coming_ = frame.publication;
      coming_offset_ = frame.offset + frame.body_bytes;
      return Status();
    }
    const Slot& slot = incoming();
    MessageHeader header;
    std::memcpy(&header, slot.buffer(frame.publication & 1), sizeof header);
    if (message_header_bytes + static_cast<uint64_t>(header.payload_bytes) != frame.total ||
        header.incarnation != incarnation_ || header.session != id_) {
      return protocol_error("a message and its frame say different things");
    }
    // A reply implies that its request was taken, the next request that the reply was.
    outgoing().taken().store(outgoing().published().load());
    slot.published().store(frame.publication);
    return Status();
  }
  Status add_piece(const Frame& frame, const uint8_t* body) {
    if (frame.offset == 0) {
      pieces_.clear();
      pieces_total_ = frame.total;
    } else if (frame.offset != pieces_.size() || frame.total != pieces_total_) {
      return protocol_error("a piece does not follow the one before");
    }
    pieces_.insert(pieces_.end(), body, body + frame.body_bytes);
    return Status();
  }

  PrivateSlot request_;
  PrivateSlot reply_;
  uint32_t coming_ = 0;
  uint32_t coming_offset_ = 0;
  uint32_t pieces_total_ = 0;
  int64_t spin_ns_ = 50000;
};

/// Announces a channel to a bridge, and takes one client after the other.
class DirectServer final : public DirectEnd, public ServerEnd {
 public:
  ~DirectServer() override { close(Reason::closed); }

  /// Announces the channel, waiting for the bridge.
  Status create(const std::string& name, const std::string& token, Paradigm paradigm, uint32_t num_envs,
                double timeout, const StopFlag* stop) {
    auto address = Address::parse(name, false);
    if (!address) return address.status();
    if (Status status = link_.begin(address.value(), token, this); !status) return status;
    announcement_ = Value::map();
    announcement_.set("name", address.value().name);
    announcement_.set("paradigm", static_cast<uint32_t>(paradigm));
    announcement_.set("num_envs", num_envs);
    announcement_.set("capabilities", capability_records);
    char machine[256] = "";
    ::gethostname(machine, sizeof machine - 1);
    announcement_.set("machine", shortened(is_utf8(machine) ? machine : "", 64));
    announcement_.set("program", "C++ program");
    open_ = true;
    Deadline deadline(timeout, stop);
    while (!announced_) {
      link_.pump(deadline.left_ns());
      if (Status status = rejection(false); !status) return status;
      if (!link_.fatal().ok()) return link_.fatal();
      if (deadline.stopped()) return was_stopped();
      if (deadline.over()) return timed_out(name + " has no bridge: " + link_.problem());
    }
    return Status();
  }

  Status receive_hello(Hello& hello, Message& message, Deadline& deadline) override {
    while (!has_hello_) {
      link_.pump(deadline.left_ns());
      if (has_hello_) break;
      if (Status status = rejection(true); !status) return status;
      if (!link_.fatal().ok()) return link_.fatal();
      if (deadline.stopped()) return was_stopped();
      if (deadline.over()) return timed_out("no client came in time");
    }
    has_hello_ = false;
    message = Message();
    message.header.kind = static_cast<uint32_t>(MessageKind::hello);
    message.header.incarnation = hello_frame_.incarnation;
    message.header.session = hello_frame_.session;
    message.payload = hello_payload_.data();
    message.size = hello_payload_.size();
    return decode(message, hello);
  }

  Status refuse(const Message& hello, const Status& why, const StopFlag*) override {
    Bytes payload;
    if (Status status = encode_refusal(why, payload); !status) return status;
    if (channel_) {
      send_opening(FrameType::refused, 0, 0, 0, payload, hello.header.incarnation, hello.header.session);
    }
    return Status();
  }

  Status accept(const Message&, Welcome welcome, uint64_t incarnation, uint64_t session,
                uint32_t request_capacity, uint32_t reply_capacity, const StopFlag*) override {
    if (!channel_ || has_hello_) return Status(Code::peer_lost, "the client is gone already");
    welcome.generation = ++generation_;
    Bytes payload;
    if (Status status = encode(welcome, payload); !status) return status;
    make_slots(request_capacity, reply_capacity, incarnation, session);
    session_.begin(outgoing(), incoming(), this, welcome.max_message_bytes);
    session_.stamp(incarnation, session);
    send_opening(FrameType::opened, request_capacity, reply_capacity, generation_, payload, incarnation, session);
    return Status();
  }

  SlotSession& session() override { return session_; }
  uint32_t peer_capabilities() const override { return peer_capabilities_; }

  void close(Reason reason) override {
    if (!open_) return;
    open_ = false;
    if (channel_) {
      tell_taken();
      link_.send(FrameType::withdraw, Ending{EndState::closed, reason}.pack(), channel_);
    }
    link_.close();
  }

  // --------------------------------------------------------------------- as a LinkOwner

  void link_is_up() override { announce(); }
  void link_is_down() override {
    DirectEnd::link_is_down();
    announced_ = has_hello_ = false;
  }
  void idle() override {
    if (!rejection_.ok() && now_ns() >= announce_at_ns_) announce();
  }

 private:
  static constexpr uint32_t number = 1;  // the dialer's numbers are odd, and there is but one
  static constexpr int64_t announce_again_ns = 500000000;
  // How long a bridge may take our own old link for alive, and its name for taken.
  static constexpr int64_t taken_ns = 30 * ns_per_s;

  void announce() {
    announce_at_ns_ = now_ns() + announce_again_ns;
    channel_ = number;
    rejection_ = Status();
    link_.send(FrameType::announce, pack_map(announcement_), number);
    // The PONG comes after a REJECT would have come.
    const char mark[] = "announce";
    link_.send(FrameType::ping, Bytes(mark, mark + 8));
  }
  Status rejection(bool patient) {
    if (rejection_.ok()) return Status();
    if (patient && rejection_.code() == Code::busy && now_ns() - rejected_since_ns_ < taken_ns) return Status();
    return rejection_;
  }
  Status take_frame(const Frame& frame, const uint8_t* body) override {
    if (frame.type == FrameType::pong) {
      if (frame.body_bytes == 8 && std::memcmp(body, "announce", 8) == 0 && rejection_.ok()) {
        announced_ = true;
        rejected_since_ns_ = 0;
        link_.succeeded();
      }
      return Status();
    }
    if (frame.channel != number) return Status();  // channels of the bridge's own
    switch (frame.type) {
      case FrameType::reject:
        rejection_ = note_error(body, frame.body_bytes);
        channel_ = 0;
        if (rejected_since_ns_ == 0) rejected_since_ns_ = now_ns();
        return Status();
      case FrameType::resume: {
        const bool known = is_session(frame) && ended_.ok();
        if (!known) {
          // Not VANISHED: nobody knows whether its last request was run.
          link_.send(FrameType::lost, Ending{EndState::lost, Reason::link_down}.pack(), number,
                     frame.incarnation, frame.session);
          return Status();
        }
        link_.send(FrameType::resumed, slot_words(), number, incarnation_, id_);
        return resume(frame, body);
      }
      case FrameType::close:
      case FrameType::lost: {
        Ending ending;
        if (Status status = Ending::unpack(body, frame.body_bytes, ending); !status) return status;
        if (is_session(frame)) {
          end(ending, "the client");
        } else if (has_hello_ && frame.session == hello_frame_.session &&
                   frame.incarnation == hello_frame_.incarnation) {
          has_hello_ = false;
        }
        return Status();
      }
      default: return protocol_error("a frame came that is not for the server of a channel");
    }
  }
  Status take_opening(const Frame& frame) override {
    if (frame.channel != number) return Status();
    if (frame.type != FrameType::open) return protocol_error("an answer came to the server of a channel");
    peer_capabilities_ = opening().capabilities;
    hello_frame_ = frame;
    hello_payload_.assign(pieces_.begin() + opening_bytes, pieces_.end());
    has_hello_ = true;
    end(Status(Code::peer_lost, "the client was replaced by a newer one", Reason::replaced));
    return Status();
  }

  Value announcement_;
  bool open_ = false;
  bool announced_ = false;
  int64_t announce_at_ns_ = 0;
  Status rejection_;
  int64_t rejected_since_ns_ = 0;
  bool has_hello_ = false;
  Frame hello_frame_;
  Bytes hello_payload_;
  uint32_t generation_ = 0;
};

/// Finds a channel at a bridge and greets its server.
class DirectClient final : public DirectEnd, public ClientEnd {
 public:
  DirectClient() { is_client_ = true; }
  ~DirectClient() override { close(Reason::closed); }

  /// Takes note of what to look for; `seek` does it. `group`: whether the members of the
  /// group `name.*` count as well where the channel is taken.
  Status begin(const std::string& address, const std::string& token, bool group) {
    auto parsed = Address::parse(address, true);
    if (!parsed) return parsed.status();
    if (Status status = link_.begin(parsed.value(), token, this); !status) return status;
    wanted_ = name_ = parsed.value().name;
    group_ = group && wanted_.back() != '*';
    open_ = true;
    return Status();
  }
  /// Makes as much headway as is possible without waiting.
  Status seek(bool& found) {
    for (int i = 0; i < 100 && !found_; ++i) {
      if (link_.up() && !question_ && now_ns() >= ask_at_ns_) ask();
      if (!link_.pump(0)) break;
    }
    found = found_;
    return link_.fatal();
  }
  /// Whether the channel was found and is taken.
  bool is_busy() const { return busy_; }
  Paradigm paradigm() const { return paradigm_; }
  std::string problem() const {
    if (!link_.up()) return "no channel " + quoted(wanted_) + ": " + link_.problem();
    return missing_.empty() ? "the bridge at " + link_.address().endpoint() + " says nothing of " + quoted(wanted_)
                            : missing_;
  }

  void begin_hello(const Bytes& payload, uint64_t incarnation, uint64_t session) override {
    hello_ = payload;
    incarnation_ = incarnation;
    id_ = session;
    answered_ = false;
    if (channel_) send_opening(FrameType::open, 0, 0, 0, hello_, incarnation_, id_);
  }
  Status continue_hello() override {
    link_.pump(0);
    return answered_ ? Status() : state();
  }
  Status look_for_welcome(Welcome& welcome, uint64_t& incarnation, uint64_t& session, bool& there) override {
    there = answered_;
    if (!answered_) return Status();
    answered_ = false;
    Message message;
    message.payload = answer_.data();
    message.size = answer_.size();
    if (refused_) return decode_refusal(message);
    incarnation = incarnation_;
    session = id_;
    return decode(message, welcome);
  }
  void rest(int64_t duration_ns) override { link_.pump(duration_ns); }
  Status attach(const Welcome& welcome, uint64_t incarnation, uint64_t session, size_t request_area,
                size_t reply_area) override {
    if (outgoing().capacity < request_area || incoming().capacity < reply_area) {
      return Status(Code::corrupt, "the slots of " + quoted(name_) + " are smaller than its messages");
    }
    session_.begin(outgoing(), incoming(), this, std::min(welcome.max_message_bytes, default_max_message_bytes));
    session_.stamp(incarnation, session);
    return Status();
  }
  SlotSession& session() override { return session_; }
  uint32_t peer_capabilities() const override { return peer_capabilities_; }
  Status check() override { return DirectEnd::check(); }
  const std::string& name() const override { return name_; }

  void close(Reason reason) override {
    if (!open_) return;
    open_ = false;
    if (channel_ && (has_session_ || !hello_.empty())) {
      tell_taken();
      link_.send(FrameType::close, Ending{EndState::closed, reason}.pack(), channel_, incarnation_, id_);
    }
    link_.close();
  }

  // --------------------------------------------------------------------- as a LinkOwner

  void link_is_up() override {
    question_ = 0;
    ask_pause_ns_ = first_pause_ns;
    ask();
  }
  void link_is_down() override {
    DirectEnd::link_is_down();
    question_ = 0;
    if (!has_session_ && hello_.empty()) found_ = false;
  }
  void idle() override {
    if (found_ && !channel_ && !question_ && ended_.ok() && now_ns() >= ask_at_ns_) ask();
  }

 private:
  static constexpr int64_t first_pause_ns = 20000000;
  static constexpr int64_t last_pause_ns = 500000000;
  // How long a bridge that is back may take to know the channel of a session again.
  static constexpr int64_t gone_ns = 5 * ns_per_s;

  void ask() {
    ask_at_ns_ = now_ns() + ask_pause_ns_;
    ask_pause_ns_ = std::min(2 * ask_pause_ns_, last_pause_ns);
    question_ = ++questions_;
    // A channel that is taken may have a free place in its group.
    const bool ask_group = group_ && busy_ && !found_ && questions_ % 2 == 0;
    Value map = Value::map();
    map.set("name", found_ ? name_ : ask_group ? wanted_ + ".*" : wanted_);
    link_.send(FrameType::find, pack_map(map), 0, 0, 0, question_);
  }
  Status take_frame(const Frame& frame, const uint8_t* body) override {
    if (frame.type == FrameType::announce || frame.type == FrameType::not_found) {
      if (question_ == 0 || frame.sequence != question_) return Status();
      question_ = 0;
      return frame.type == FrameType::announce ? take_announcement(frame, body) : take_not_found(frame, body);
    }
    if (!channel_ || frame.channel != channel_) return Status();
    switch (frame.type) {
      case FrameType::resumed: return is_session(frame) ? resume(frame, body) : Status();
      case FrameType::lost:
      case FrameType::withdraw: {
        Ending ending;
        if (Status status = Ending::unpack(body, frame.body_bytes, ending); !status) return status;
        if (frame.type == FrameType::withdraw || is_session(frame)) end(ending, "the server of the channel");
        if (frame.type == FrameType::withdraw) {
          channel_ = 0;
          found_ = false;
        }
        return Status();
      }
      case FrameType::pong: return Status();
      default: return protocol_error("a frame came that is not for the client of a channel");
    }
  }
  Status take_announcement(const Frame& frame, const uint8_t* body) {
    Value map;
    if (Status status = unpack_map(body, frame.body_bytes, map); !status) return status;
    Fields fields(map);
    const std::string name = fields.get("name", Value::Kind::text).text();
    paradigm_ = static_cast<Paradigm>(fields.count("paradigm", 2, 1));
    peer_capabilities_ = static_cast<uint32_t>(fields.count("capabilities", UINT32_MAX));
    if (!is_channel_name(name) || frame.channel == 0) fields.refuse("a channel's name");
    if (Status status = fields.status(); !status) return status;
    channel_ = frame.channel;
    link_.succeeded();
    name_ = name;
    found_ = true;
    busy_ = false;
    missing_since_ns_ = 0;
    if (has_session_) {
      link_.send(FrameType::resume, slot_words(), channel_, incarnation_, id_);
    } else {
      down_since_ns_ = 0;
      if (!hello_.empty()) send_opening(FrameType::open, 0, 0, 0, hello_, incarnation_, id_);
    }
    return Status();
  }
  Status take_not_found(const Frame& frame, const uint8_t* body) {
    const Status note = note_error(body, frame.body_bytes);
    if (has_session_) {  // the bridge may have been restarted
      if (missing_since_ns_ == 0) missing_since_ns_ = now_ns();
      if (now_ns() - missing_since_ns_ > gone_ns) end(Ending{EndState::lost, Reason::link_down}, "the server");
      return Status();
    }
    busy_ = note.code() == Code::busy;
    missing_ = "no channel " + quoted(wanted_) + " at the bridge " + link_.address().endpoint() + " (" +
               note.message() + ")";
    const bool passes = busy_ || note.code() == Code::not_found || note.code() == Code::draining;
    return passes ? Status() : note;
  }
  Status take_opening(const Frame& frame) override {
    if (!channel_ || frame.channel != channel_ || hello_.empty()) return Status();
    if (frame.type == FrameType::open) return protocol_error("an OPEN came to the client of a channel");
    const bool ours = (incarnation_ == 0 || incarnation_ == frame.incarnation) &&
                      (id_ == 0 || id_ == frame.session);
    if (!ours) return Status();
    const Opening said = opening();
    answer_.assign(pieces_.begin() + opening_bytes, pieces_.end());
    hello_.clear();
    answered_ = true;
    refused_ = frame.type == FrameType::refused;
    if (refused_) return Status();
    peer_capabilities_ = said.capabilities;
    for (const uint32_t capacity : {said.request_capacity, said.reply_capacity}) {
      if (capacity == 0 || capacity % payload_alignment || capacity > max_slot_payload_bytes) {
        return protocol_error("a capacity of slots is not sound");
      }
    }
    // From now on there is a session, in which the server may speak at once.
    make_slots(said.request_capacity, said.reply_capacity, frame.incarnation, frame.session);
    return Status();
  }

  std::string wanted_;
  std::string name_;
  bool group_ = false;
  bool open_ = false;
  bool found_ = false;
  bool busy_ = false;
  std::string missing_;
  int64_t missing_since_ns_ = 0;
  Paradigm paradigm_ = Paradigm::client_env;
  uint32_t question_ = 0;
  uint32_t questions_ = 0;
  int64_t ask_at_ns_ = 0;
  int64_t ask_pause_ns_ = first_pause_ns;
  Bytes hello_;
  Bytes answer_;
  bool answered_ = false;
  bool refused_ = false;
};

}  // namespace rlay::detail

//-------------------------------------- env.hpp ---------------------------------------
// The algorithm's end: steps an environment elsewhere.

namespace rlay {

struct EnvOptions {
  /// Of the channel, or its address at a bridge: tcp://host:port/name. Empty: RLAY_CHANNEL.
  /// name.* stands for the first free one of name.0, name.1 ...
  std::string name;
  std::string directory;
  double connect_timeout = 30;  // seconds; `forever` without a limit
  double reset_timeout = 300;
  double step_timeout = 60;
  double close_timeout = 5;
  const StopFlag* stop = nullptr;
  uint64_t max_message_bytes = detail::default_max_message_bytes;
  std::string token;
  /// Whether a batch is taken, where the channel carries one.
  bool vector = false;
  std::string autoreset_mode;  // asked of a batch; empty: as it is
  std::string render_mode;     // asked for; empty: as it is
};

/// An environment in another process: what `ClientEnv` is in Python.
///
/// An error of the environment (codes below 0x8000) leaves the session as it is. After a
/// Code::timeout only `reset` and `close` are allowed. After Code::peer_lost,
/// Code::peer_closed and Code::link_down only `close` is of use.
class Env {
 public:
  Env() = default;
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;
  ~Env() { close(); }

  /// Waits for the channel and the greeting.
  Status open(EnvOptions options = {}) {
    close();
    auto name = detail::name_or_default(options.name);
    if (!name) return name.status();
    options_ = std::move(options);
    options_.name = name.value();
    detail::Wishes wishes;
    wishes.vector = options_.vector;
    if (!options_.render_mode.empty()) wishes.render_mode = options_.render_mode;
    if (!options_.autoreset_mode.empty()) wishes.autoreset_mode = options_.autoreset_mode;
    detail::Hello hello;
    hello.paradigm = detail::Paradigm::client_env;
    hello.wishes = wishes.pack();
    hello.capabilities = detail::software_capabilities();
    hello.max_message_bytes = options_.max_message_bytes;
    detail::SearchOptions where;
    where.name = options_.name;
    where.directory = options_.directory;
    where.paradigm = detail::Paradigm::client_env;
    where.group = false;
    where.token = options_.token;
    where.stop = options_.stop;
    detail::Search search;
    search.begin(std::move(where), std::move(hello));
    detail::Deadline deadline(options_.connect_timeout, options_.stop);
    detail::Welcome welcome;
    while (true) {
      const auto areas = [this](const detail::Welcome& said, size_t& request, size_t& reply) {
        return agree(said, request, reply);
      };
      if (Status status = search.look(end_, welcome, areas); !status) return status;
      if (end_) break;
      if (deadline.stopped()) return detail::was_stopped();
      if (deadline.over()) {
        return Status(search.is_busy() ? Code::busy : Code::timeout, search.problem());
      }
      search.rest(deadline.left_ns(detail::look_every_ns));
    }
    requester_ = detail::Requester();
    was_reset_ = false;
    return Status();
  }

  bool is_open() const { return end_ != nullptr; }
  const Space& observation_space() const { return agreement_.observation_space; }
  const Space& action_space() const { return agreement_.action_space; }
  uint32_t num_envs() const { return agreement_.batch.num_envs; }
  bool is_vector() const { return agreement_.batch.vector; }
  const Value& metadata() const { return facts_.metadata; }
  const Value& spec() const { return facts_.spec; }

  Status reset(const ResetRequest& request, First& first) {
    if (Status status = check_open(); !status) return status;
    detail::Deadline deadline(options_.reset_timeout, options_.stop);
    if (Status status = discard_late(deadline); !status) return status;
    detail::Message reply;
    const Status status = ask(
        detail::MessageKind::reset,
        [&](detail::Draft& draft) { return writer_->reset(draft, request); }, reply, deadline);
    if (!status) return status;
    was_reset_ = true;
    return finish(reply, detail::MessageKind::reset_result,
                  [&] { return reader_->reset_result(reply, first); });
  }

  Status step(const Value& action, Transition& transition) {
    if (Status status = check_idle(); !status) return status;
    if (!was_reset_) return Status(Code::reset_needed, "call reset before the first step");
    detail::Deadline deadline(options_.step_timeout, options_.stop);
    detail::Message reply;
    const Status status = ask(
        detail::MessageKind::step,
        [&](detail::Draft& draft) { return writer_->step(draft, action); }, reply, deadline);
    if (!status) return status;
    return finish(reply, detail::MessageKind::transition,
                  [&] { return reader_->transition(reply, transition); });
  }

  Status call(const Call& what, Value& result) {
    if (Status status = check_idle(); !status) return status;
    detail::Deadline deadline(options_.step_timeout, options_.stop);
    detail::Message reply;
    const Status status = ask(
        detail::MessageKind::call,
        [&](detail::Draft& draft) { return writer_->call(draft, what); }, reply, deadline);
    if (!status) return status;
    return finish(reply, detail::MessageKind::call_result,
                  [&] { return detail::ReportReader::call_result(reply, result); });
  }

  /// Says goodbye. Twice is harmless.
  void close() {
    if (!end_) return;
    if (requester_.state() == detail::Requester::State::idle) {
      detail::Deadline deadline(options_.close_timeout);
      detail::Message reply;
      const Status status = ask(
          detail::MessageKind::close,
          [&](detail::Draft& draft) { return writer_->close(draft, Reason::closed); }, reply, deadline);
      if (status) end_->session().take();
    }
    end_->close(Reason::closed);
    end_.reset();
  }

 private:
  Status agree(const detail::Welcome& welcome, size_t& request_area, size_t& reply_area) {
    if (!welcome.environment.is_map()) return detail::protocol_error("a WELCOME tells of no environment");
    facts_ = detail::Facts();
    if (Status status = detail::unpack_facts(welcome.environment, facts_); !status) return status;
    if (facts_.batch.vector && !options_.vector) {
      return Status(Code::num_envs, "the channel carries a batch: set EnvOptions::vector");
    }
    auto agreement =
        detail::Agreement::compile(facts_.observation_space, facts_.action_space, facts_.batch);
    if (!agreement) return agreement.status();
    agreement_ = std::move(agreement.value());
    writer_ = std::make_unique<detail::DecisionWriter>(agreement_);
    reader_ = std::make_unique<detail::ReportReader>(agreement_);
    request_area = agreement_.decisions.bytes;
    reply_area = agreement_.reports.bytes;
    return Status();
  }

  Status check_open() const {
    if (!end_) return Status(Code::misuse, "this environment is not open");
    if (requester_.state() == detail::Requester::State::over) return lost_;
    return Status();
  }
  Status check_idle() const {
    if (Status status = check_open(); !status) return status;
    if (requester_.state() == detail::Requester::State::late) {
      return Status(Code::reset_needed, "the last request was not answered in time: call reset");
    }
    return Status();
  }

  template <class Write>
  Status ask(detail::MessageKind kind, Write&& write, detail::Message& reply, detail::Deadline& deadline) {
    detail::SlotSession& session = end_->session();
    const uint32_t sequence = requester_.begin();
    session.draft(draft_, kind, sequence);
    Status status = write(draft_);
    if (status && draft_.overflow.size() > session.limit_bytes()) {
      status = session.too_large(draft_.overflow.size());
    }
    if (!status) {
      requester_.cancel();
      return status;
    }
    status = session.send(sequence, draft_, deadline);
    if (!status) return lose(std::move(status));  // half a message may be out
    return await(reply, deadline);
  }

  Status await(detail::Message& reply, detail::Deadline& deadline) {
    while (true) {
      Status status = end_->session().receive(reply, deadline);
      if (status.code() == Code::timeout || status.code() == Code::stopped) {
        requester_.abandon();
        return status;
      }
      if (!status) return lose(std::move(status));
      switch (requester_.receive(reply.header.sequence)) {
        case detail::Requester::Outcome::accept: return Status();
        case detail::Requester::Outcome::discard:
          end_->session().take();
          return Status(Code::reset_needed, "the late reply came and was discarded");
        case detail::Requester::Outcome::drop: end_->session().take(); break;
        case detail::Requester::Outcome::breach:
          return lose(detail::protocol_error("a reply came that nobody asked for"));
      }
    }
  }

  Status discard_late(detail::Deadline& deadline) {
    if (requester_.state() != detail::Requester::State::late) return Status();
    detail::Message reply;
    Status status = await(reply, deadline);
    return status.code() == Code::reset_needed ? Status() : status;
  }

  /// Reads a reply of a kind, or the failure in its place, and takes it.
  template <class Read>
  Status finish(const detail::Message& reply, detail::MessageKind kind, Read&& read) {
    Status status = reply.kind() == detail::MessageKind::failure ? detail::ReportReader::failure(reply)
                    : reply.kind() == kind                       ? read()
                                                                 : detail::protocol_error("an unexpected reply came");
    end_->session().take();
    if (status.code() != Code::protocol && status.code() != Code::environment_gone) return status;
    return lose(std::move(status));
  }

  Status lose(Status why) {
    requester_.lose();
    lost_ = why;
    return why;
  }

  EnvOptions options_;
  detail::Facts facts_;
  detail::Agreement agreement_;
  std::shared_ptr<detail::ClientEnd> end_;
  std::unique_ptr<detail::DecisionWriter> writer_;
  std::unique_ptr<detail::ReportReader> reader_;
  detail::Requester requester_;
  detail::Draft draft_;
  Status lost_;
  bool was_reset_ = false;
};

}  // namespace rlay

//------------------------------------- serve.hpp --------------------------------------
// An environment that answers: the other end of a ClientEnv.

namespace rlay {

struct ServeOptions {
  /// Of the channel, or its address at a bridge: tcp://host:port/name. Empty: RLAY_CHANNEL.
  std::string name;
  /// Where channels live; empty: RLAY_DIR or the default.
  std::string directory;
  /// How many clients to serve; 0: any number. One that asked for nothing does not count.
  uint32_t sessions = 0;
  /// Ends `serve` within 0.1 s where it is set, from a signal handler too.
  const StopFlag* stop = nullptr;
  /// Larger messages are refused.
  uint64_t max_message_bytes = detail::default_max_message_bytes;
  /// For an address: seconds to wait for its bridge; `forever` without a limit.
  double connect_timeout = 30;
  /// For an address: the token of its bridge; empty: the file of RLAY_TOKEN_FILE, if set.
  std::string token;
  /// Called with one line about each client that comes or goes, if set.
  std::function<void(const std::string& line)> log;
};

namespace detail {

/// One client, from its WELCOME to its goodbye.
class BackendSession {
 public:
  BackendSession(SlotSession& session, const Agreement& agreement, Environment& env, bool records,
                 const StopFlag* stop)
      : session_(session), env_(env), reader_(agreement), writer_(agreement, records), deadline_(forever, stop) {}

  /// Requests that were run.
  uint64_t requests() const { return requests_; }

  /// Answers requests until the client has said CLOSE; else an error says why it ended.
  Status serve() {
    while (!closing_) {
      Message request;
      Status status = session_.receive(request, deadline_);
      if (!status) return refuse_unreadable(std::move(status));
      const uint32_t sequence = request.header.sequence;
      switch (responder_.receive(sequence)) {
        case Responder::Outcome::run: status = respond(request, sequence); break;
        case Responder::Outcome::repeat:
          session_.take();
          status = repeat(sequence);
          break;
        case Responder::Outcome::drop: session_.take(); break;
        case Responder::Outcome::breach:
          session_.take();
          status = protocol_error("request " + std::to_string(sequence) + " came after " +
                                  std::to_string(responder_.sequence()));
      }
      if (!status) return status;
    }
    return Status();
  }

 private:
  Status respond(const Message& request, uint32_t sequence) {
    ++requests_;
    session_.draft(draft_, MessageKind::transition, sequence);
    switch (request.kind()) {
      case MessageKind::step: return step(request, sequence);
      case MessageKind::reset: return reset(request, sequence);
      case MessageKind::call: return call(request, sequence);
      case MessageKind::close: return close(request, sequence);
      default: return break_off(protocol_error("a message came that is no request"), sequence);
    }
  }

  Status step(const Message& request, uint32_t sequence) {
    Status status = reader_.step(request, action_, mask_);
    if (!status) return break_off(std::move(status), sequence);
    session_.take();
    if (!was_reset_) {
      status = Status(Code::reset_needed, "a step came before the first reset: call reset first");
    } else {
      transition_.reward = 0.0;
      transition_.terminated = false;
      transition_.truncated = false;
      transition_.info = Value::map();
      if (!mask_.is_nil()) {
        status = Status(Code::unsupported, "this environment resets none of a batch in a step");
      } else {
        status = env_.step ? env_.step(action_, transition_)
                           : Status(Code::unsupported, "this environment cannot step");
        if (status) status = writer_.transition(draft_, transition_);
      }
    }
    return finish(std::move(status), sequence);
  }

  Status reset(const Message& request, uint32_t sequence) {
    ResetRequest asked;
    Status status = reader_.reset(request, asked);
    if (!status) return break_off(std::move(status), sequence);
    session_.take();
    first_.info = Value::map();
    status = env_.reset ? env_.reset(asked, first_)
                        : Status(Code::unsupported, "this environment cannot reset");
    if (status) {
      was_reset_ = true;
      restart(MessageKind::reset_result, sequence);
      status = writer_.reset_result(draft_, first_);
    }
    return finish(std::move(status), sequence);
  }

  Status call(const Message& request, uint32_t sequence) {
    Call asked;
    Status status = DecisionReader::call(request, asked);
    if (!status) return break_off(std::move(status), sequence);
    session_.take();
    Value result;
    status = answer_call(env_, asked, result);
    if (status) {
      restart(MessageKind::call_result, sequence);
      status = writer_.call_result(draft_, result);
    }
    return finish(std::move(status), sequence);
  }

  Status close(const Message& request, uint32_t sequence) {
    Reason reason = Reason::closed;
    Status status = DecisionReader::close(request, reason);
    if (!status) return break_off(std::move(status), sequence);
    session_.take();
    closing_ = true;
    restart(MessageKind::call_result, sequence);
    status = writer_.call_result(draft_, Value());
    return finish(std::move(status), sequence);
  }

  void restart(MessageKind kind, uint32_t sequence) { session_.draft(draft_, kind, sequence); }

  /// Sends what was written, or why nothing was.
  Status finish(Status status, uint32_t sequence) {
    if (status.code() == Code::stopped) return status;  // the environment wants to leave
    if (status && draft_.overflow.size() > session_.limit_bytes()) {
      status = session_.too_large(draft_.overflow.size());
    }
    if (!status) {
      restart(MessageKind::failure, sequence);
      if (Status written = writer_.failure(draft_, as_failure(std::move(status))); !written) return written;
    }
    responder_.answer();
    in_parts_ = draft_.overflow.empty() ? 0 : sequence;
    return session_.send(sequence, draft_, deadline_);
  }

  Status repeat(uint32_t sequence) {
    if (in_parts_ != sequence) {
      session_.repeat(sequence);
      return Status();
    }
    return session_.send(sequence, draft_, deadline_);
  }

  /// Answers a request that cannot be read, so that its sender does not wait for nothing;
  /// it is the last one of the session.
  Status break_off(Status why, uint32_t sequence) {
    session_.take();
    restart(MessageKind::failure, sequence);
    if (Status status = writer_.failure(draft_, protocol_error(why.message())); !status) return status;
    responder_.answer();
    if (Status status = session_.send(sequence, draft_, deadline_); !status) return status;
    return why;
  }
  Status refuse_unreadable(Status why) {
    if (why.code() != Code::protocol && why.code() != Code::too_large) return why;
    MessageHeader header;
    const Slot& slot = session_.incoming();
    const uint32_t word = slot.published().load(std::memory_order_acquire);
    std::memcpy(&header, slot.buffer(word & 1), sizeof header);
    if (responder_.receive(header.sequence) != Responder::Outcome::run) return why;
    return break_off(std::move(why), header.sequence);
  }

  SlotSession& session_;
  Environment& env_;
  DecisionReader reader_;
  ReportWriter writer_;
  Deadline deadline_;
  Responder responder_;
  Draft draft_;
  Value action_;
  Value mask_;
  First first_;
  Transition transition_;
  uint64_t requests_ = 0;
  uint32_t in_parts_ = 0;
  bool was_reset_ = false;
  bool closing_ = false;
};

/// Why a client cannot be taken, if so.
inline Status judge(const Hello& hello, const Facts& facts, const std::string& name) {
  Wishes wishes;
  if (hello.paradigm != Paradigm::client_env || hello.wishes.is_nil()) {
    return protocol_error("channel " + quoted(name) +
                          " holds an environment and waits for a ClientEnv");
  }
  if (Status status = unpack_wishes(hello.wishes, wishes); !status) return status;
  const std::string count = std::to_string(facts.batch.num_envs);
  if (facts.batch.vector && !wishes.vector) {
    return Status(Code::num_envs, "channel " + quoted(name) + " carries a batch of " + count +
                                      ": use rlay.ClientVectorEnv(" + quoted(name) + ")");
  }
  if (!wishes.num_envs.is_nil() && wishes.num_envs.integer() != facts.batch.num_envs) {
    return Status(Code::num_envs, "channel " + quoted(name) + " carries " + count + " environments, " +
                                      std::to_string(wishes.num_envs.integer()) + " were asked for");
  }
  if (wishes.render_mode.is_text()) {
    const std::string& wanted = wishes.render_mode.text();
    const std::string ours = facts.render_mode.is_text() ? facts.render_mode.text() : "";
    // A client makes these two out of frames by itself.
    const bool made_there = ours == "rgb_array" && (wanted == "human" || wanted == "rgb_array_list");
    if (wanted != ours && !made_there) {
      return Status(Code::unsupported, "the environment of channel " + quoted(name) + " renders " +
                                           (ours.empty() ? "nothing" : quoted(ours)) + ", " +
                                           quoted(wanted) + " was asked for");
    }
  }
  const std::pair<const Value*, const Space*> demands[] = {
      {&wishes.observation_space, &facts.observation_space}, {&wishes.action_space, &facts.action_space}};
  for (const auto& [demanded, space] : demands) {
    if (!demanded->is_nil() && *demanded != space->describe()) {
      return Status(Code::space_mismatch,
                    std::string("the ") + (space == &facts.action_space ? "action" : "observation") +
                        " space of channel " + quoted(name) + " is not the one that is demanded");
    }
  }
  return Status();
}

/// Serves one client after the other.
inline Status serve_clients(ServerEnd& server, const std::string& name, Environment& env,
                            const ServeOptions& options) {
  const Facts facts = pack_facts(env, true);
  auto packed = facts.pack();
  if (!packed) return packed.status();
  auto agreement = Agreement::compile(facts.observation_space, facts.action_space, facts.batch);
  if (!agreement) return agreement.status();
  const auto log = [&options](const std::string& line) {
    if (options.log) options.log(line);
  };
  const uint64_t incarnation = draw_id();
  uint32_t served = 0;
  while (options.sessions == 0 || served < options.sessions) {
    Hello hello;
    Message message;
    Deadline deadline(forever, options.stop);
    Status status = server.receive_hello(hello, message, deadline);
    if (!status && status.code() != Code::protocol && status.code() != Code::version &&
        status.code() != Code::too_large) {
      return status;
    }
    const uint64_t session = message.header.session;
    if (status && session == 0) status = protocol_error("a client drew no session");
    if (status) status = judge(hello, facts, name);
    if (!status) {
      log("refused a client: " + status.message());
      if (server.refuse(message, status, options.stop).code() == Code::stopped) return was_stopped();
      continue;
    }
    Welcome welcome;
    welcome.environment = packed.value();
    welcome.capabilities = software_capabilities();
    welcome.max_message_bytes = std::min(options.max_message_bytes, hello.max_message_bytes);
    status = server.accept(message, welcome, incarnation, session,
                           Agreement::capacity(agreement.value().decisions),
                           Agreement::capacity(agreement.value().reports), options.stop);
    if (status.code() == Code::no_space) {
      (void)server.refuse(message, status, options.stop);
      continue;
    }
    if (status.code() == Code::stopped) return status;
    if (!status) continue;  // it is gone already
    log("a client came to " + name);
    BackendSession backend(server.session(), agreement.value(), env,
                           (server.peer_capabilities() & capability_records) != 0, options.stop);
    status = backend.serve();
    log("a session ended after " + std::to_string(backend.requests()) + " requests: " +
        (status ? "closed" : status.message()));
    if (status.code() == Code::stopped) return status;
    served += backend.requests() > 0;
  }
  return Status();
}

inline Status open_server(const std::string& name, const ServeOptions& options, uint32_t num_envs,
                          std::unique_ptr<ServerEnd>& server);

}  // namespace detail

/// Makes a channel and answers one client after the other: the environment's end of a
/// `ClientEnv`. Blocks, in the thread that calls it.
///
/// What the callbacks return as an error goes to the client, and the session goes on; but
/// after Code::stopped the environment leaves at once, and `serve` returns that.
/// There is no time-out: an algorithm may compute for hours.
///
/// Returns ok after `options.sessions` clients, or Code::stopped where the stop flag is up;
/// else why the channel could not be made. The channel is removed in any case.
inline Status serve(Environment& environment, const ServeOptions& options = {}) {
  auto name = detail::name_or_default(options.name);
  if (!name) return name.status();
  if (Status status = detail::check_facts(environment); !status) return status;
  std::unique_ptr<detail::ServerEnd> server;
  if (Status status = detail::open_server(name.value(), options, environment.num_envs, server); !status) {
    return status;
  }
  Status status = detail::serve_clients(*server, name.value(), environment, options);
  const bool drains = options.stop && options.stop->load();
  server->close(drains ? Reason::draining : Reason::closed);
  return status;
}

}  // namespace rlay

namespace rlay::detail {

inline Status open_server(const std::string& name, const ServeOptions& options, uint32_t num_envs,
                          std::unique_ptr<ServerEnd>& server) {
  if (is_address(name)) {
    auto direct = std::make_unique<DirectServer>();
    Status made = direct->create(name, options.token, Paradigm::client_env, num_envs, options.connect_timeout,
                                 options.stop);
    if (made) server = std::move(direct);
    return made;
  }
#if RLAY_MAPPED_FILES
  auto mapped = std::make_unique<MappedServer>();
  Status status = mapped->create(name, options.directory, Paradigm::client_env, num_envs);
  if (status) server = std::move(mapped);
  return status;
#else
  return Status(Code::unsupported, "this system has no mapped channels: name an address, tcp://host:port/name");
#endif
}

inline Status Search::open_address() {
  if (!direct_) {
    direct_ = std::make_shared<DirectClient>();
    if (Status status = direct_->begin(options_.name, options_.token, options_.group); !status) return status;
  }
  bool found = false;
  if (Status status = direct_->seek(found); !status) return status;
  busy_ = direct_->is_busy();
  problem_ = direct_->problem();
  if (!found) return Status();
  if (direct_->paradigm() != options_.paradigm) return other_paradigm(options_.name, direct_->paradigm());
  end_ = std::move(direct_);
  return Status();
}

inline void Search::rest(int64_t duration_ns) {
  if (end_) {
    end_->rest(duration_ns);
  } else if (direct_) {
    direct_->rest(duration_ns);
  } else {
    sleep_ns(duration_ns);
  }
}

inline Status Search::open() {
  if (is_address(options_.name)) return open_address();
#if RLAY_MAPPED_FILES
  return open_mapped_channel();
#else
  return Status(Code::unsupported, "this system has no mapped channels: name an address, tcp://host:port/name");
#endif
}

}  // namespace rlay::detail

