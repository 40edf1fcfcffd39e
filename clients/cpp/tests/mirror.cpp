// An environment whose observation is its action: `mirror NAME SPACE [SESSIONS]`.
//
// SPACE is the description of both spaces, in hex. A reset takes its first observation from
// options["observation"], and its info from options["info"]. SIGTERM ends it in order.
// MIRROR_LIMIT is its max_message_bytes.

#include <csignal>

#include "notation.hpp"

namespace {

rlay::StopFlag stop{false};

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
  if (fault == "hang") {
    while (true) rlay::detail::sleep_ns(rlay::detail::ns_per_s);
  }
  transition.observation = action;
  transition.reward = 0.5;
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
  rlay::ServeOptions options;
  options.name = arguments[1];
  options.sessions = count > 3 ? static_cast<uint32_t>(std::atoi(arguments[3])) : 0;
  options.stop = &stop;
  if (const char* limit = std::getenv("MIRROR_LIMIT")) {
    options.max_message_bytes = std::strtoull(limit, nullptr, 10);
  }
  options.log = [](const std::string& line) {
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
  };
  const rlay::Status status = rlay::serve(mirror, options);
  if (status || status.code() == rlay::Code::stopped) return 0;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return 1;
}
