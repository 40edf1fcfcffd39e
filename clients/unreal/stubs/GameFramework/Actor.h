// Stands in for the engine's actor; see CoreMinimal.h beside this folder.

#pragma once

#include "CoreMinimal.h"

namespace EEndPlayReason {
enum Type { Destroyed };
}

struct FActorTickFunction {
  bool bCanEverTick = false;
};

class AActor {
 public:
  virtual ~AActor() = default;
  virtual void BeginPlay() {}
  virtual void EndPlay(const EEndPlayReason::Type) {}
  virtual void Tick(float) {}

  FActorTickFunction PrimaryActorTick;
};
