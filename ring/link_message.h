#pragma once

#include <algorithm>
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

  bool is_empty() const { return sends.empty() && receives.empty(); }
  /// Both ends of a pair of ranks put their messages in this order, and then match them one by one.
  void sort_by_tag() {
    for (std::vector<LinkMessage>* messages : {&sends, &receives}) std::ranges::stable_sort(*messages, {}, &LinkMessage::tag);
  }
};

}  // namespace hilbertring
