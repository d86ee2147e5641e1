#pragma once

#include <nccl.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "core/cuda/device.h"

namespace hilbertring {

/// One message of a group. `data` is only read by a send.
struct NcclMessage {
  std::byte* data;
  std::size_t num_bytes;
  int peer;
  int tag;
};

/// A group of messages of one rank.
struct NcclGroup {
  std::vector<NcclMessage> sends, receives;
};

/// A communicator that does not block, and a thread that watches it and aborts it when it has failed: kernels that wait for messages end then, and
/// so does whoever waits for them.
class NcclCommunicator {
 public:
  /// Collective. Blocks until the ranks have met. `gpu` is the calling thread's.
  NcclCommunicator(const ncclUniqueId& id, int rank, int num_ranks, int gpu, std::chrono::seconds patience);
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  ~NcclCommunicator();

  /// Hands the group to the stream. Blocks until NCCL has connected the peers.
  void exchange(NcclGroup group, cudaStream_t stream);
  /// Throws what the watcher found.
  void check();

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;

  void issue(const NcclGroup& group, cudaStream_t stream);
  void wait_until_settled(Lock& lock, const std::string& what, std::chrono::seconds patience);
  void require(ncclResult_t status, const std::string& what);
  void watch(const std::stop_token& stop);
  void look_after_groups();
  void fail(const std::string& why) noexcept;
  void finish() noexcept;

  int rank_;
  int gpu_;
  std::chrono::seconds patience_;
  int num_exceptions_;

  // Guarded by mutex_, but for what the constructor does before the watcher starts.
  std::mutex mutex_;
  std::condition_variable_any wake_;
  ncclComm_t communicator_ = nullptr;  ///< null once it was aborted
  std::optional<std::string> failure_;
  std::deque<Event> under_way_;  ///< ends of groups, oldest first
  Clock::time_point last_arrival_ = Clock::now();
  std::jthread watcher_;
};

}  // namespace hilbertring
