#pragma once

#include <nccl.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <string>

#include "ring/link_message.h"
#include "ring/link_watch.h"

namespace hilbertring {

/// Messages through NCCL: a communicator that does not block.
class NcclCommunicator final : public LinkPart {
 public:
  /// Collective. Blocks until the ranks have met. The calling thread's GPU is this rank's.
  NcclCommunicator(const ncclUniqueId& id, int rank, int num_ranks, std::chrono::seconds patience);
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  /// The orderly end, of all ranks together, unless an exception is under way.
  ~NcclCommunicator() override;

  /// Hands the group, sorted by tag, to the stream. Blocks until NCCL has connected the peers. What went wrong, if anything did.
  std::optional<std::string> exchange(const LinkGroup& group, cudaStream_t stream);
  std::optional<std::string> find_fault() override;
  void stop_waiting() noexcept override;

 private:
  using Lock = std::unique_lock<std::mutex>;

  void issue(const LinkGroup& group, cudaStream_t stream);
  void wait_until_settled(Lock& lock, const std::string& what, std::chrono::seconds patience);
  void require(ncclResult_t status, const std::string& what) const;
  void finish() noexcept;

  int rank_;
  std::chrono::seconds patience_;
  int num_exceptions_;
  std::mutex mutex_;                   ///< of all that NCCL is asked
  ncclComm_t communicator_ = nullptr;  ///< null once it was aborted
};

}  // namespace hilbertring
