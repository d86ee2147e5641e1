#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "ring/host_board.h"
#include "ring/link_message.h"
#include "ring/link_watch.h"
#include "ring/transport.h"

namespace hilbertring {

struct PeerBox;

/// What other processes call an allocation on a GPU.
using PeerHandle = std::array<char, sizeof(cudaIpcMemHandle_t)>;
/// A place in one.
struct PeerPlace {
  PeerHandle allocation;
  std::int64_t offset;
};

/// Messages between GPUs of one host whose processes map each other's memory. The sender's copy engines write straight to where the receiver wants
/// the bytes: no kernel takes part, so messages travel at the links' full rate while persistent kernels hold every multiprocessor.
///
/// For each ordered pair of ranks the host's board has two counters and a few letters. In each group with messages from a to b:
///
///   b's host    leaves a letter for each message: whose memory, where in it
///   b's stream  counts `room` up when it gets there: whatever had to be done with that memory before is done
///   a's stream  waits for `room`, copies what b's letters asked for, counts `arrived` up
///   b's stream  waits for `arrived`
///
/// Streams wait by the driver's own means, without a kernel.
class PeerCopies final : public LinkPart {
 public:
  /// Calls now and then while the host waits for a peer's letter; throws when it has waited for too long.
  using Patience = std::function<void()>;

  /// Collective over the transport. The calling thread's GPU is this rank's.
  explicit PeerCopies(Transport& transport);
  PeerCopies(const PeerCopies&) = delete;
  PeerCopies& operator=(const PeerCopies&) = delete;
  ~PeerCopies() override;

  /// Whether messages can go to and from this rank. Both say the same of each other.
  bool reaches(int peer) const { return reaches_[static_cast<std::size_t>(peer)]; }
  /// The same on all ranks.
  bool all_reach_each_other() const { return all_reach_each_other_; }
  /// One rank's part in a group of messages with ranks that are reached, at most 64 from each, sorted by tag. First post(), then exchange().
  void post(const std::vector<LinkMessage>& receives, cudaStream_t stream, const Patience& patience);
  void exchange(const LinkGroup& group, cudaStream_t stream, const Patience& patience);
  /// Unmaps all memory of others. Collective; nothing may be under way.
  void let_go(Transport& transport);
  std::optional<std::string> find_fault() override { return std::nullopt; }
  /// Whatever is counted, now and by peers that are still at work, if called again.
  void stop_waiting() noexcept override;

 private:
  PeerBox& box(int from, int to) const;
  std::size_t place_on_board(int rank) const;
  bool share_board();
  std::vector<std::string> find_reachable(Transport& transport);
  std::byte* mapped(const PeerHandle& handle);
  PeerPlace place_of(std::byte* data);
  void unmap_all() noexcept;
  void send(const LinkMessage& message, PeerBox& box, cudaStream_t stream, const Patience& patience);

  int rank_;
  std::optional<HostBoard> board_;
  bool is_board_shared_ = false;  ///< the GPU sees it
  std::vector<bool> reaches_;
  bool all_reach_each_other_ = true;
  std::vector<std::uint32_t> num_sent_, num_received_;  ///< groups, by peer
  std::map<PeerHandle, std::byte*> mapped_;             ///< memory of others
  std::map<std::uint64_t, PeerHandle> own_handles_;     ///< by the address of the allocation
};

}  // namespace hilbertring
