// A level without an engine: one environment, ticked until its trainer has left.

#include "RLayEnvironment.h"

// What Blueprint would implement does nothing here.
void ARLayEnvironment::K2_Initialize(FRLayDefinition&) {}
void ARLayEnvironment::K2_Reset(const FRLayReset&, FRLayState&) {}
void ARLayEnvironment::K2_Step(const FRLayAction&) {}
void ARLayEnvironment::K2_Observe(FRLayState&) {}
void ARLayEnvironment::K2_Heuristic() {}

namespace {

/// A walk on a line: an action of 1 goes right, 0 left, in each tick.
class AWalk final : public ARLayEnvironment {
 public:
  int32 Place = 0;
  int32 IdleTicks = 0;
  bool bPlayed = false;

  void Initialize(FRLayDefinition& OutDefinition) override {
    OutDefinition.ObservationSize = 2;
    OutDefinition.ActionChoices = 2;
  }
  void Reset(const FRLayReset& How, FRLayState& OutState) override {
    bPlayed = true;
    Place = How.bHasSeed ? static_cast<int32>(How.Seed % 3) : 0;
    Observe(OutState);
  }
  void Step(const FRLayAction& InAction) override { Place += InAction.Choice == 1 ? 1 : -1; }
  void Observe(FRLayState& OutState) override {
    OutState.Observation.SetNumZeroed(2);
    OutState.Observation[0] = static_cast<float>(Place);
    OutState.Reward = Place >= 9 ? 1.0 : 0.0;
    OutState.bTerminated = Place >= 9 || Place <= -9;
  }
  void Heuristic() override { ++IdleTicks; }
};

}  // namespace

int main(int count, char** arguments) {
  AWalk Walk;
  Walk.Channel = count > 1 ? arguments[1] : "level";
  Walk.ActionRepeat = 3;
  Walk.BeginPlay();
  for (int Frame = 0; Frame < 600000 && Walk.GetProblem().IsEmpty(); ++Frame) {
    Walk.Tick(0.0001F);
    if (Walk.bPlayed && !Walk.IsConnected()) break;
    rlay::detail::sleep_ns(100000);
  }
  Walk.EndPlay(EEndPlayReason::Destroyed);
  std::printf("idle %d\n", Walk.IdleTicks > 0 ? 1 : 0);
  return Walk.GetProblem().IsEmpty() && Walk.bPlayed ? 0 : 1;
}
