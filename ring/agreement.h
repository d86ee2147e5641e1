#pragma once

#include <functional>

#include "ring/transport.h"

namespace hilbertring {

/// Runs `step` on every rank and agrees on how it went. Collective. If it threw on some rank, every rank throws an Error with the kind, library and
/// text of the lowest rank that failed (`Error::rank()` names it unless the error named one): rank 0 can print the one line, and no rank is left
/// waiting. Exceptions other than Error become failures; std::bad_alloc "not enough memory". `step` must not talk to other ranks: a rank whose step
/// has failed no longer answers them.
void agree(Transport& transport, const std::function<void()>& step);

}  // namespace hilbertring
