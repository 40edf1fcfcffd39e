// The C++ client, kept apart from the engine's macros.

#pragma once

#include "CoreMinimal.h"

#if PLATFORM_WINDOWS
#include "Windows/AllowWindowsPlatformTypes.h"
#endif

// The engine has macros of these names; the client has functions.
#pragma push_macro("check")
#pragma push_macro("verify")
#pragma push_macro("TEXT")
#undef check
#undef verify
#undef TEXT

#include "rlay.hpp"

#pragma pop_macro("TEXT")
#pragma pop_macro("verify")
#pragma pop_macro("check")

#if PLATFORM_WINDOWS
#include "Windows/HideWindowsPlatformTypes.h"
#endif
