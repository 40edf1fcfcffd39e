// In the engine this is written by its header tool: here it says who the parent is.

#pragma once

class AActor;

#undef RLAY_STUB_BODY
#define RLAY_STUB_BODY using Super = AActor;
