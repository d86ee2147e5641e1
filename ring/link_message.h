#pragma once

#include <cstddef>
#include <vector>

#include "ring/byte_runs.h"

namespace hilbertring {

/// One message of a group between devices. `data` is only read by a send.
struct LinkMessage {
  std::byte* data;
  std::size_t num_bytes;
  std::vector<ByteRuns> parts;  ///< of a send: what travels; empty: everything
  int peer;
  int tag;
};

/// A group of messages of one rank.
struct LinkGroup {
  std::vector<LinkMessage> sends, receives;
};

}  // namespace hilbertring
