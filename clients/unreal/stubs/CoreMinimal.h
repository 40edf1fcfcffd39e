// Stands in for the engine where there is none: as much of it as the plugin uses, so that a
// compiler and a test can look at the plugin. Nothing of the engine is copied.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#define PLATFORM_WINDOWS 0
#define RLAY_API
#define UCLASS(...)
#define USTRUCT(...)
#define UPROPERTY(...)
#define UFUNCTION(...)
#define UPARAM(...)
#define GENERATED_BODY() RLAY_STUB_BODY
#define RLAY_STUB_BODY
#define TEXT(text) text
#define TCHAR_TO_UTF8(text) (text)
#define UTF8_TO_TCHAR(text) (text)
// The engine's own macro, which must not reach the client's header.
#define check(expression) do { if (!(expression)) std::abort(); } while (false)
#define verify(expression) check(expression)
#define DEFINE_LOG_CATEGORY_STATIC(...)
#define UE_LOG(category, level, ...) std::fprintf(stderr, __VA_ARGS__), std::fputc('\n', stderr)

using int32 = int32_t;
using int64 = int64_t;

class FString {
 public:
  FString(const char* text = "") : text_(text) {}  // NOLINT: as the engine converts
  bool IsEmpty() const { return text_.empty(); }
  const char* operator*() const { return text_.c_str(); }

 private:
  std::string text_;
};

template <class T>
class TArray {
 public:
  int32 Num() const { return static_cast<int32>(items_.size()); }
  void SetNumZeroed(int32 count) { items_.assign(static_cast<size_t>(count), T()); }
  T& operator[](int32 index) { return items_[static_cast<size_t>(index)]; }
  const T& operator[](int32 index) const { return items_[static_cast<size_t>(index)]; }

 private:
  std::vector<T> items_;
};

struct FCommandLine {
  static const char* Get() { return ""; }
};

struct FParse {
  static bool Value(const char*, const char*, FString&) { return false; }
};
