// Values of any type that the protocol knows.

#pragma once

#include "status.hpp"

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
