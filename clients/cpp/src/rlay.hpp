// RLay for C++17: an environment in C++, its algorithm in Python, in another process or on
// another machine.
//
//   rlay::serve(environment)       answers a ClientEnv: reset and step are callbacks
//   rlay::Backend                  asks a ServerEnv: a loop of your own calls decide()
//   rlay::Env                      the algorithm's end: steps an environment elsewhere
//
// No dependency but the system's own libraries, no exceptions, no RTTI, no thread. Errors
// are values of rlay::Status, with a code and a text. Where memory cannot be had the
// program ends, as the standard containers do without exceptions.
//
// The protocol is that of docs/spec. Read in this order: value, space, messages, reports,
// decisions; slots, mapped; serve, backend.

#pragma once

#include "attaching.hpp"
