#pragma once

#include <nccl.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "core/cuda/device.h"
#include "ring/link_message.h"

namespace hilbertring {

/// A communicator that does not block, and a thread that watches it, and other work on streams that waits for peers, and aborts all when something
/// has failed: what waits for messages on the device ends then, and so does whoever waits for it.
class NcclCommunicator {
 public:
  /// Collective. Blocks until the ranks have met. `gpu` is the calling thread's. `release`: called, from any thread, when something has failed, and
  /// again and again until the end; must make the other work stop waiting.
  NcclCommunicator(const ncclUniqueId& id, int rank, int num_ranks, int gpu, std::chrono::seconds patience, std::function<void()> release);
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  ~NcclCommunicator();

  /// Hands the group to the stream. Blocks until NCCL has connected the peers.
  void exchange(LinkGroup group, cudaStream_t stream);
  /// All that the stream was given waits for peers: looks after it as after groups.
  void look_after(cudaStream_t stream);
  /// From now on everything fails: for a reason of this rank's own, or because no message came in time.
  void give_up(const std::string& why);
  void give_up_waiting();
  std::chrono::seconds patience() const { return patience_; }
  /// Throws what the watcher found.
  void check();

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;

  void issue(const LinkGroup& group, cudaStream_t stream);
  void wait_until_settled(Lock& lock, const std::string& what, std::chrono::seconds patience);
  void require(ncclResult_t status, const std::string& what);
  void watch(const std::stop_token& stop);
  void note_group(cudaStream_t stream);
  void look_after_groups();
  std::string silence_text() const;
  void fail(const std::string& why) noexcept;
  void finish() noexcept;

  int rank_;
  int gpu_;
  std::chrono::seconds patience_;
  std::function<void()> release_;
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
