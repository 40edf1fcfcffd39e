// Just enough JSON for the tests: what Python's json.dumps writes, as a rlay::Value.

#pragma once

#include <string>

#include "rlay.hpp"

class Json {
 public:
  explicit Json(const std::string& text) : text_(text) {}

  /// Reads one value; the test programs end where it is malformed.
  static rlay::Value parse(const std::string& text) {
    Json json(text);
    rlay::Value value = json.value();
    json.space();
    if (json.at_ != text.size()) json.fail();
    return value;
  }

  static void write(const rlay::Value& value, std::string& out) {
    using Kind = rlay::Value::Kind;
    char buffer[40];
    switch (value.kind()) {
      case Kind::nil: out += "null"; return;
      case Kind::boolean: out += value.boolean() ? "true" : "false"; return;
      case Kind::integer: out += std::to_string(value.integer()); return;
      case Kind::natural: out += std::to_string(value.natural()); return;
      case Kind::real:
        std::snprintf(buffer, sizeof buffer, "%.17g", value.real());
        out += buffer;
        return;
      case Kind::text: write_text(value.text(), out); return;
      case Kind::map:
        out += '{';
        for (size_t i = 0; i < value.size(); ++i) {
          if (i) out += ", ";
          write_text(value.key(i), out);
          out += ": ";
          write(value[i], out);
        }
        out += '}';
        return;
      default:
        out += '[';
        for (size_t i = 0; i < value.size(); ++i) {
          if (i) out += ", ";
          write(value[i], out);
        }
        out += ']';
    }
  }

 private:
  [[noreturn]] void fail() const {
    std::fprintf(stderr, "malformed JSON at byte %zu\n", at_);
    std::exit(2);
  }
  void space() {
    while (at_ < text_.size() && std::strchr(" \n\t\r", text_[at_])) ++at_;
  }
  char peek() {
    space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  void expect(char c) {
    if (peek() != c) fail();
    ++at_;
  }
  bool word(const char* literal) {
    const size_t size = std::strlen(literal);
    if (text_.compare(at_, size, literal) != 0) return false;
    at_ += size;
    return true;
  }
  rlay::Value value() {
    switch (peek()) {
      case '{': return object();
      case '[': return array();
      case '"': return string();
      case 't': if (word("true")) return true; fail();
      case 'f': if (word("false")) return false; fail();
      case 'n': if (word("null")) return nullptr; fail();
      default: return number();
    }
  }
  rlay::Value object() {
    rlay::Value map = rlay::Value::map();
    expect('{');
    if (peek() == '}') ++at_;
    else do {
      space();
      const std::string key = string();
      expect(':');
      map.set(key.c_str(), value());
    } while (more('}'));
    return map;
  }
  rlay::Value array() {
    rlay::Value list = rlay::Value::list();
    expect('[');
    if (peek() == ']') ++at_;
    else do list.push_back(value()); while (more(']'));
    return list;
  }
  bool more(char end) {
    if (peek() == ',') {
      ++at_;
      return true;
    }
    expect(end);
    return false;
  }
  unsigned hex4() {
    if (at_ + 4 > text_.size()) fail();
    const unsigned code = static_cast<unsigned>(std::strtoul(text_.substr(at_, 4).c_str(), nullptr, 16));
    at_ += 4;
    return code;
  }
  std::string string() {
    std::string out;
    expect('"');
    while (at_ < text_.size() && text_[at_] != '"') {
      const char c = text_[at_++];
      if (c != '\\') {
        out += c;
        continue;
      }
      if (at_ >= text_.size()) fail();
      const char escape = text_[at_++];
      switch (escape) {
        case 'n': out += '\n'; break;
        case 't': out += '\t'; break;
        case 'r': out += '\r'; break;
        case 'b': out += '\b'; break;
        case 'f': out += '\f'; break;
        case 'u': {
          unsigned code = hex4();
          if (code >= 0xD800 && code < 0xDC00 && word("\\u")) {
            code = 0x10000 + ((code - 0xD800) << 10) + (hex4() - 0xDC00);
          }
          utf8(code, out);
          break;
        }
        default: out += escape;
      }
    }
    expect('"');
    return out;
  }
  static void utf8(unsigned code, std::string& out) {
    const auto byte = [&out](unsigned value) { out += static_cast<char>(value); };
    if (code < 0x80) {
      byte(code);
    } else if (code < 0x800) {
      byte(0xC0 | code >> 6), byte(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      byte(0xE0 | code >> 12), byte(0x80 | (code >> 6 & 0x3F)), byte(0x80 | (code & 0x3F));
    } else {
      byte(0xF0 | code >> 18), byte(0x80 | (code >> 12 & 0x3F));
      byte(0x80 | (code >> 6 & 0x3F)), byte(0x80 | (code & 0x3F));
    }
  }
  rlay::Value number() {
    const size_t start = at_;
    while (at_ < text_.size() && std::strchr("+-0123456789.eE", text_[at_])) ++at_;
    const std::string digits = text_.substr(start, at_ - start);
    if (digits.empty()) fail();
    if (digits.find_first_of(".eE") != std::string::npos) return std::strtod(digits.c_str(), nullptr);
    if (digits[0] == '-') return static_cast<int64_t>(std::strtoll(digits.c_str(), nullptr, 10));
    return static_cast<uint64_t>(std::strtoull(digits.c_str(), nullptr, 10));
  }
  static void write_text(const std::string& text, std::string& out) {
    out += '"';
    for (const char c : text) {
      char buffer[8];
      if (c == '"' || c == '\\') {
        out += '\\';
        out += c;
      } else if (static_cast<unsigned char>(c) < 0x20) {
        std::snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(c));
        out += buffer;
      } else {
        out += c;
      }
    }
    out += '"';
  }

  const std::string& text_;
  size_t at_ = 0;
};
