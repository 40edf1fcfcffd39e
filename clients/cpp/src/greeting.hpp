// The greeting: what both ends say before a session begins.

#pragma once

#include "decisions.hpp"

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
