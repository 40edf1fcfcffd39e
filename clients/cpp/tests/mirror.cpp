// An environment whose observation is its action: `mirror NAME SPACE [SESSIONS [HOW]]`.
//
// HOW: "serve" answers a ClientEnv; "run" asks a ServerEnv; "poll" asks it too, in a loop
// that never blocks.
// SPACE is the description of both spaces, in hex. A reset takes its first observation from
// options["observation"], and its info from options["info"]. SIGTERM ends it in order.
// MIRROR_LIMIT is its max_message_bytes, MIRROR_ENVS the number of environments in a batch.

#include <csignal>

#include "../conformance/notation.hpp"

namespace {

rlay::StopFlag stop{false};
int envs = 0;  // 0: no batch
bool forked = false;

rlay::Status mirror_step(const rlay::Value& action, rlay::Transition& transition, std::string& fault) {
  if (fault == "raise") {
    fault.clear();
    return rlay::Status::environment("the mirror is broken", "BrokenMirror");
  }
  if (fault == "exit") std::_Exit(3);
  if (fault == "misfit") {
    fault.clear();
    transition.observation = rlay::Value::array<double>({1.0, 2.0, 3.0});
    return rlay::Status();
  }
  if (fault == "huge") {
    fault.clear();
    transition.info["huge"] = std::string(3'000'000, 'x');
  }
  if (fault == "fork") {
    fault.clear();
    if (::fork() == 0) {  // a child that outlives its parent, and answers nobody
      rlay::detail::sleep_ns(3 * rlay::detail::ns_per_s);
      std::_Exit(0);
    }
  }
  if (fault == "fork and go on") {
    fault.clear();
    if (::fork() == 0) forked = true;  // a child that comes back, and would answer too
  }
  if (fault == "hang") {
    while (true) rlay::detail::sleep_ns(rlay::detail::ns_per_s);
  }
  transition.observation = action;
  transition.reward = 0.5;
  if (envs > 0) {
    transition.reward = rlay::Value::array<double>(rlay::Shape{envs});
    for (int i = 0; i < envs; ++i) transition.reward.data<double>()[i] = i;
    transition.terminated = transition.truncated = rlay::Value::array<bool>(rlay::Shape{envs});
    transition.terminated.data<bool>()[0] = true;
  }
  return rlay::Status();
}

/// The loop of an engine whose main thread must not block: it looks once in each frame.
rlay::Status poll_for_ever(rlay::Backend& backend, rlay::Environment& mirror, uint32_t sessions) {
  rlay::First first;
  rlay::Transition transition;
  rlay::Decision decision;
  uint64_t frames = 0;
  uint32_t left = 0;
  while (!stop && (sessions == 0 || left < sessions)) {
    ++frames;
    rlay::Status status = backend.poll(decision);
    if (!status) return status;
    if (decision.is_none()) {
      rlay::detail::sleep_ns(100000);
      continue;
    }
    if (decision.is_close()) {
      std::printf("close %d\n", static_cast<int>(decision.reason));
      std::fflush(stdout);
      ++left;
      continue;
    }
    const bool resets = decision.is_reset();
    rlay::Status done = resets ? mirror.reset(decision.reset, first) : mirror.step(decision.action, transition);
    if (done) done = resets ? backend.report(first) : backend.report(transition);
    if (!done) done = backend.report_failure(done);
    if (!done) return done;
    if (!backend.report(transition).ok()) continue;
    std::fprintf(stderr, "a second report was taken before the first was decided upon\n");
    std::exit(4);
  }
  std::printf("%llu frames\n", static_cast<unsigned long long>(frames));
  return rlay::Status();
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return 2;
  std::signal(SIGTERM, [](int) { stop = true; });
  const auto bytes = from_hex(arguments[2]);
  rlay::Value description;
  if (!rlay::detail::ValueDecoder(bytes.data(), bytes.size()).whole(description)) return 2;
  auto space = rlay::Space::parse(description);
  if (!space) return 2;

  std::string fault;
  rlay::Value level = 1;
  rlay::Environment mirror;
  mirror.observation_space = mirror.action_space = space.value();
  mirror.metadata.set("mirror", true);
  if (const char* number = std::getenv("MIRROR_ENVS")) {
    envs = std::atoi(number);
    mirror.num_envs = static_cast<uint32_t>(envs);
    mirror.vector = true;
    mirror.autoreset_mode = "Disabled";
  }
  mirror.reset = [](const rlay::ResetRequest& request, rlay::First& first) {
    if (const rlay::Value* observation = request.options.find("observation")) {
      first.observation = *observation;
    }
    if (const rlay::Value* info = request.options.find("info")) first.info = *info;
    if (first.info.is_map() && request.has_seed()) {
      first.info["seed"] = to_hex(request.seed.raw(), request.seed.raw_bytes());
      first.info["seed bits"] = request.seed_bits();
    }
    return rlay::Status();
  };
  mirror.step = [&fault](const rlay::Value& action, rlay::Transition& transition) {
    return mirror_step(action, transition, fault);
  };
  mirror.methods.emplace_back("echo", [](const rlay::Call& call, rlay::Value& result) {
    result = rlay::Value::list({call.args, call.kwargs});
    return rlay::Status();
  });
  mirror.methods.emplace_back("fault", [&fault](const rlay::Call& call, rlay::Value&) {
    fault = call.args.size() ? call.args[0].text() : "";
    return rlay::Status();
  });
  mirror.attributes.emplace_back("level", rlay::Attribute{[&level](rlay::Value& value) {
                                                            value = level;
                                                            return rlay::Status();
                                                          },
                                                          [&level](const rlay::Value& value) {
                                                            level = value;
                                                            return rlay::Status();
                                                          }});
  const std::string how = count > 4 ? arguments[4] : "serve";
  const auto sessions = count > 3 ? static_cast<uint32_t>(std::atoi(arguments[3])) : 0;
  uint64_t limit = 1U << 30;
  if (const char* named = std::getenv("MIRROR_LIMIT")) limit = std::strtoull(named, nullptr, 10);
  rlay::Status status;
  if (how == "serve") {
    rlay::ServeOptions options;
    options.name = arguments[1];
    options.sessions = sessions;
    options.stop = &stop;
    options.max_message_bytes = limit;
    options.log = [](const std::string& line) {
      std::printf("%s%s\n", forked ? "forked: " : "", line.c_str());
      std::fflush(stdout);
    };
    status = rlay::serve(mirror, options);
  } else {
    rlay::BackendOptions options;
    options.name = arguments[1];
    options.stop = &stop;
    options.max_message_bytes = limit;
    options.connect_timeout = how == "poll" ? 0 : 30;
    rlay::Backend backend;
    status = backend.open(mirror, options);
    if (status) status = how == "poll" ? poll_for_ever(backend, mirror, sessions) : backend.run(mirror, sessions);
  }
  if (forked) std::_Exit(status.code() == rlay::Code::misuse ? 0 : 5);
  if (status || status.code() == rlay::Code::stopped) return 0;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return 1;
}
