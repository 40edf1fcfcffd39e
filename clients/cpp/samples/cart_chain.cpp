// A cart on a rail that carries a chain of three masses: a small physics of its own, with
// springs of no give between the bodies. The aim is to hold the chain upright.
//
//   cart_chain NAME          answers: rlay.ClientEnv("NAME") in Python
//   cart_chain NAME --ask    asks: rlay.ServerEnv("NAME"), with a loop of its own
//
// The same seed and the same actions give the same numbers, bit by bit, in every run.

#include <csignal>

#include "rlay.hpp"

namespace {

constexpr int masses = 3;
constexpr int ticks_per_action = 4;
constexpr int actions_per_episode = 500;
constexpr double dt = 1.0 / 240.0;
constexpr double rail = 2.4;       // the cart's way to each side, in metres
constexpr double rod = 0.5;        // between two bodies, in metres
constexpr double gravity = 9.81;   // m/s^2
constexpr double force = 20.0;     // of an action of 1, in newtons
constexpr double cart_kg = 1.0;
constexpr double mass_kg = 0.1;

rlay::StopFlag stop{false};

/// Random numbers that are the same on every machine (splitmix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  /// From -1 to 1.
  double next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    z ^= z >> 31;
    return static_cast<double>(z >> 11) / 4503599627370496.0 - 1.0;
  }

 private:
  uint64_t state_;
};

struct Body {
  double x = 0, y = 0;    // now
  double px = 0, py = 0;  // one tick ago
  double inverse_kg = 0;

  double vx() const { return (x - px) / dt; }
  double vy() const { return (y - py) / dt; }
};

class CartChain {
 public:
  void restart(uint64_t seed) {
    Random random(seed);
    actions_ = 0;
    for (int i = 0; i <= masses; ++i) {
      Body& body = bodies_[i];
      body.x = body.px = 0.05 * random.next() * i;
      body.y = body.py = rod * i;
      body.inverse_kg = 1.0 / (i == 0 ? cart_kg : mass_kg);
    }
  }

  /// Applies a push for some ticks, and returns the reward.
  double act(double push) {
    double reward = 0;
    ++actions_;
    for (int tick = 0; tick < ticks_per_action && !off_the_rail(); ++tick) {
      advance(push < -1 ? -1 : push > 1 ? 1 : push);
      reward += bodies_[masses].y / (rod * masses * ticks_per_action);
    }
    return reward;
  }
  bool off_the_rail() const { return bodies_[0].x < -rail || bodies_[0].x > rail; }
  bool too_long() const { return actions_ >= actions_per_episode; }

  void observe(rlay::Value& observation) const {
    // Made once: afterwards the same memory is written to again.
    if (!observation.is_map()) {
      observation.set("cart", rlay::Value::array<float>(rlay::Shape{2}));
      observation.set("masses", rlay::Value::array<float>(rlay::Shape{masses, 4}));
    }
    float* cart = observation["cart"].data<float>();
    cart[0] = static_cast<float>(bodies_[0].x);
    cart[1] = static_cast<float>(bodies_[0].vx());
    float* rows = observation["masses"].data<float>();
    for (int i = 0; i < masses; ++i) {
      const Body& body = bodies_[i + 1];
      rows[4 * i] = static_cast<float>(body.x - bodies_[0].x);
      rows[4 * i + 1] = static_cast<float>(body.y);
      rows[4 * i + 2] = static_cast<float>(body.vx());
      rows[4 * i + 3] = static_cast<float>(body.vy());
    }
  }

 private:
  void advance(double push) {
    for (int i = 0; i <= masses; ++i) {
      Body& body = bodies_[i];
      const double ax = i == 0 ? push * force * body.inverse_kg : 0.0;
      const double ay = i == 0 ? 0.0 : -gravity;
      const double x = 2 * body.x - body.px + ax * dt * dt;
      const double y = 2 * body.y - body.py + ay * dt * dt;
      body.px = body.x;
      body.py = body.y;
      body.x = x;
      body.y = y;
    }
    // The rods are put right again and again; the rail holds the cart at y = 0.
    for (int round = 0; round < 20; ++round) {
      bodies_[0].y = 0;
      for (int i = 0; i < masses; ++i) hold_together(bodies_[i], bodies_[i + 1], i == 0);
    }
  }
  static void hold_together(Body& a, Body& b, bool a_slides) {
    const double dx = b.x - a.x;
    const double dy = b.y - a.y;
    const double length = std::sqrt(dx * dx + dy * dy);
    const double share = (length - rod) / (length * (a.inverse_kg + b.inverse_kg));
    a.x += dx * share * a.inverse_kg;
    if (!a_slides) a.y += dy * share * a.inverse_kg;
    b.x -= dx * share * b.inverse_kg;
    b.y -= dy * share * b.inverse_kg;
  }

  Body bodies_[masses + 1];
  int actions_ = 0;
};

void describe(rlay::EnvironmentFacts& facts) {
  const double infinity = std::numeric_limits<double>::infinity();
  facts.observation_space = rlay::dict({{"cart", rlay::box<float>({2}, -infinity, infinity)},
                                        {"masses", rlay::box<float>({masses, 4}, -infinity, infinity)}});
  facts.action_space = rlay::box<float>({1}, -1, 1);
}

/// The push of an action: an array of one float.
double push_of(const rlay::Value& action) { return action.real(); }

/// An environment that is called.
rlay::Status answer(const char* name) {
  CartChain chain;
  rlay::Environment env;
  describe(env);
  env.reset = [&chain](const rlay::ResetRequest& request, rlay::First& first) {
    chain.restart(request.seed_bits(1));
    chain.observe(first.observation);
    return rlay::Status();
  };
  env.step = [&chain](const rlay::Value& action, rlay::Transition& transition) {
    transition.reward = chain.act(push_of(action));
    transition.terminated = chain.off_the_rail();
    transition.truncated = chain.too_long();
    chain.observe(transition.observation);
    return rlay::Status();
  };
  rlay::ServeOptions options;
  options.name = name;
  options.stop = &stop;
  return rlay::serve(env, options);
}

/// A game with a loop of its own, which asks.
rlay::Status ask(const char* name) {
  CartChain chain;
  rlay::EnvironmentFacts facts;
  describe(facts);
  rlay::BackendOptions options;
  options.name = name;
  options.stop = &stop;
  rlay::Backend trainer;
  if (rlay::Status status = trainer.open(facts, options); !status) return status;
  rlay::Decision decision;
  rlay::First first;
  rlay::Transition transition;
  rlay::Status status = trainer.decide(decision);
  while (status && !decision.is_close()) {
    if (decision.is_reset()) {
      chain.restart(decision.reset.seed_bits(1));
      chain.observe(first.observation);
      status = trainer.decide(first, decision);
    } else {
      transition.reward = chain.act(push_of(decision.action));
      transition.terminated = chain.off_the_rail();
      transition.truncated = chain.too_long();
      chain.observe(transition.observation);
      status = trainer.decide(transition, decision);
    }
  }
  return status;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "cart_chain NAME [--ask]\n");
    return 2;
  }
  std::signal(SIGINT, [](int) { stop = true; });
  std::signal(SIGTERM, [](int) { stop = true; });
  const bool asks = count > 2 && std::strcmp(arguments[2], "--ask") == 0;
  const rlay::Status status = asks ? ask(arguments[1]) : answer(arguments[1]);
  if (status || status.code() == rlay::Code::stopped) return 0;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return 1;
}
