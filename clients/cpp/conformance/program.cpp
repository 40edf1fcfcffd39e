// The test program of the C++ client; clients/README.md says what it must do.

#include "vectors.hpp"

namespace {

using rlay::Code;
using rlay::Status;
using rlay::Value;

constexpr int refused = 3;
constexpr int unsupported = 4;

int end(int code, const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  return code;
}

/// A seed in decimal digits.
std::string decimal(const Value& seed) {
  if (seed.kind() == Value::Kind::integer) return std::to_string(seed.integer());
  if (seed.kind() == Value::Kind::natural) return std::to_string(seed.natural());
  std::vector<uint8_t> bytes(seed.raw(), seed.raw() + seed.raw_bytes());  // little-endian
  const bool negative = !bytes.empty() && (bytes.back() & 0x80);
  unsigned carry = 1;
  for (uint8_t& byte : bytes) {
    if (!negative) break;
    carry += static_cast<uint8_t>(~byte);
    byte = static_cast<uint8_t>(carry);
    carry >>= 8;
  }
  std::string digits;
  while (!bytes.empty()) {
    unsigned rest = 0;
    for (size_t i = bytes.size(); i-- > 0;) {
      rest = rest << 8 | bytes[i];
      bytes[i] = static_cast<uint8_t>(rest / 10);
      rest %= 10;
    }
    digits.insert(digits.begin(), static_cast<char>('0' + rest));
    while (!bytes.empty() && bytes.back() == 0) bytes.pop_back();
  }
  return (negative ? "-" : "") + (digits.empty() ? "0" : digits);
}

/// The environment of a case file.
class Script {
 public:
  explicit Script(const Value& script) : case_(script) {}

  rlay::Environment environment(Status& status) {
    rlay::Environment env;
    const std::pair<const char*, rlay::Space*> spaces[] = {{"observation_space", &env.observation_space},
                                                           {"action_space", &env.action_space}};
    for (const auto& [key, target] : spaces) {
      const Value* description = case_.find(key);
      auto space = rlay::Space::parse(description ? *description : Value());
      if (!space) status = space.status();
      *target = space.value();
    }
    if (const Value* metadata = case_.find("metadata")) env.metadata = *metadata;
    env.reset = [this](const rlay::ResetRequest& request, rlay::First& first) {
      ++resets_;
      steps_ = 0;
      Value said = Value::map();
      said.set("seed", request.has_seed() ? Value(decimal(request.seed)) : Value());
      said.set("options", request.options);
      rlay::Transition played;
      const Status done = play(turn("resets", resets_), said, nullptr, played);
      first.observation = played.observation;
      first.info = played.info;
      return done;
    };
    env.step = [this](const Value& action, rlay::Transition& transition) {
      ++steps_;
      Value said = Value::map();
      said.set("action", action);
      return play(turn("steps", steps_), said, &action, transition);
    };
    return env;
  }

 private:
  Value turn(const char* which, uint64_t number) const {
    const Value* entries = case_.find(which);
    if (!entries || entries->size() == 0) return Value::map();
    return (*entries)[static_cast<size_t>((number - 1) % entries->size())];
  }
  Status play(const Value& entry, Value& said, const Value* action, rlay::Transition& it) const {
    const auto find = [&entry](const char* key) { return entry.find(key); };
    if (const Value* wait = find("wait_ms")) rlay::detail::sleep_ns(wait->integer() * 1000000);
    if (find("leave")) return Status(Code::stopped, "the script says to leave");
    if (const Value* text = find("raise")) return Status::environment(text->text(), "ScriptedError");
    said.set("step", steps_);
    said.set("resets", resets_);
    if (const Value* boxed = find("observation")) {
      it.observation = (*boxed)[0];
    } else if (action) {
      it.observation = *action;
    }
    it.reward = find("reward") ? *find("reward") : Value(0.0);
    it.terminated = find("terminated") ? *find("terminated") : Value(false);
    it.truncated = find("truncated") ? *find("truncated") : Value(false);
    it.info = find("info") ? *find("info") : Value::map();
    if (const Value* names = find("echo")) {
      for (const Value& name : names->items()) {
        const Value* known = said.find(name.text());
        if (known) it.info.set(name.text().c_str(), *known);
      }
    }
    return Status();
  }

  const Value& case_;
  uint64_t resets_ = 0;
  uint64_t steps_ = 0;
};

/// A decision, by the call that waits for it or by its twin that does not.
Status decision_of(rlay::Backend& game, rlay::Decision& decision, bool polling) {
  if (!polling) return game.poll(decision, rlay::forever);
  while (true) {
    const Status status = game.poll(decision);
    if (!status || !decision.is_none()) return status;
    rlay::detail::sleep_ns(100000);  // a frame of the game
  }
}

int play(rlay::Environment& env, uint32_t sessions, bool polling) {
  rlay::Backend game;
  rlay::BackendOptions options;
  if (Status status = game.open(env, options); !status) return end(refused, status.message());
  rlay::Decision decision;
  rlay::First first;
  rlay::Transition transition;
  uint32_t ended = 0;
  Status status = game.report();
  while (status) {
    status = decision_of(game, decision, polling);
    if (!status) break;
    if (decision.is_close()) {
      if (++ended == sessions) return 0;
      continue;
    }
    Status done = decision.is_reset() ? env.reset(decision.reset, first) : env.step(decision.action, transition);
    if (done.code() == Code::stopped) return game.close(), 0;
    if (done) done = decision.is_reset() ? game.report(first) : game.report(transition);
    if (!done) status = game.report_failure(done);
  }
  return end(refused, status.message());
}

int run(const std::string& role, const Value& script) {
  if (const Value* first = script.find("first_sequence")) {
    rlay::detail::first_sequence = static_cast<uint32_t>(first->natural());
  }
  Script scripted(script);
  Status status;
  rlay::Environment env = scripted.environment(status);
  if (!status) return end(refused, status.message());
  const Value* counted = script.find("sessions");
  const auto sessions = counted ? static_cast<uint32_t>(counted->integer()) : 1;
  if (role == "game") {
    const Value* loop = script.find("loop");
    return play(env, sessions, loop && loop->text() == "polling");
  }
  rlay::ServeOptions options;
  options.sessions = sessions;
  options.log = [](const std::string& line) { std::printf("%s\n", line.c_str()); };
  status = rlay::serve(env, options);
  return status || status.code() == Code::stopped ? 0 : end(refused, status.message());
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return end(2, "vectors DIRECTORY, environment CASE or game CASE");
  const std::string role = arguments[1];
  if (role == "vectors") {
    vectors::compare(arguments[2]);
    return 0;
  }
  const char* address = std::getenv("RLAY_CHANNEL");
  if (address && std::strncmp(address, "ws://", 5) == 0) return end(unsupported, "this client speaks no WebSocket");
  std::ifstream stream(arguments[2], std::ios::binary);
  std::stringstream text;
  text << stream.rdbuf();
  const std::string bytes = text.str();
  Value script;
  const Status status =
      rlay::detail::ValueDecoder(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()).whole(script);
  if (!stream || !status) return end(2, "the case cannot be read: " + status.message());
  return run(role, script);
}
