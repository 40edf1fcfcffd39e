// What a C++ program says of its environment.

#pragma once

#include "greeting.hpp"

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
