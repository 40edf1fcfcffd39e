// Stands in for the engine's modules; see CoreMinimal.h beside this folder.

#pragma once

#define IMPLEMENT_MODULE(implementation, name) \
  namespace { [[maybe_unused]] constexpr const char* module_name = #name; }
