// The algorithm in C++: `stepper NAME STEPS [TIMEOUT]` steps an environment with the
// actions 0 and 1 in turn, and prints a hash of all that it saw.

#include "rlay.hpp"

namespace {

uint64_t hash = 1469598103934665603U;  // FNV-1a

void add(const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 1099511628211U;
}

int fail(const char* what, const rlay::Status& status) {
  std::fprintf(stderr, "%s: %u %s: %s\n", what, static_cast<unsigned>(status.code()), status.type().c_str(),
               status.message().c_str());
  return 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return 2;
  rlay::EnvOptions options;
  options.name = arguments[1];
  options.step_timeout = count > 3 ? std::atof(arguments[3]) : 60;
  rlay::Env env;
  if (rlay::Status status = env.open(options); !status) return fail("open", status);
  rlay::First first;
  rlay::Transition transition;
  rlay::ResetRequest request;
  request.seed = 5;
  if (rlay::Status status = env.step(0, transition); status.code() != rlay::Code::reset_needed) return 3;
  if (rlay::Status status = env.reset(request, first); !status) return fail("reset", status);
  add(first.observation.raw(), first.observation.raw_bytes());
  const int steps = std::atoi(arguments[2]);
  for (int i = 0; i < steps; ++i) {
    rlay::Status status = env.step(rlay::Value::scalar<int64_t>(i % 2), transition);
    if (status.code() == rlay::Code::timeout) {
      std::printf("timeout\n");
      if (env.step(0, transition).code() != rlay::Code::reset_needed) return 3;
      if (status = env.reset(request, first); !status) return fail("reset", status);
      continue;
    }
    if (!status) return fail("step", status);
    add(transition.observation.raw(), transition.observation.raw_bytes());
    const double reward = transition.reward.real();
    add(&reward, sizeof reward);
    if (!transition.terminated.boolean() && !transition.truncated.boolean()) continue;
    if (status = env.reset(rlay::ResetRequest(), first); !status) return fail("reset", status);
    add(first.observation.raw(), first.observation.raw_bytes());
  }
  env.close();
  std::printf("%016llx\n", static_cast<unsigned long long>(hash));
  return 0;
}
