#include "ring/nccl_communicator.h"

#include <exception>
#include <thread>
#include <utility>

#include "core/error.h"

namespace hilbertring {

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kMeetingPatience = std::chrono::seconds(60);
constexpr auto kFarewellPatience = std::chrono::seconds(10);
/// NCCL hands a group of connected peers to the stream in less than this, while the device may have nothing to do: nobody sleeps before.
constexpr auto kSpinTime = std::chrono::milliseconds(1);
constexpr auto kPollInterval = std::chrono::microseconds(50);

}  // namespace

NcclCommunicator::NcclCommunicator(const ncclUniqueId& id, int rank, int num_ranks, std::chrono::seconds patience)
    : rank_(rank), patience_(patience), num_exceptions_(std::uncaught_exceptions()) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  Lock lock(mutex_);
  const ncclResult_t status = ncclCommInitRankConfig(&communicator_, num_ranks, id, rank, &config);
  try {
    if (communicator_ == nullptr) {
      throw Error(ErrorKind::kFailure, "NCCL", "rank " + std::to_string(rank) + " can't join the others: " + ncclGetErrorString(status), rank);
    }
    require(status, "joining the other ranks");
    wait_until_settled(lock, "joining the other ranks", kMeetingPatience);
  } catch (...) {
    if (communicator_ != nullptr) static_cast<void>(ncclCommAbort(communicator_));
    throw;
  }
}

NcclCommunicator::~NcclCommunicator() {
  // While an exception unwinds the stack the other ranks may be anywhere, and never come to an orderly end.
  if (std::uncaught_exceptions() > num_exceptions_) {
    stop_waiting();
  } else {
    finish();
  }
}

std::optional<std::string> NcclCommunicator::exchange(const LinkGroup& group, cudaStream_t stream) {
  Lock lock(mutex_);
  if (communicator_ == nullptr) return "the communicator is closed";
  const auto error = error_of([&] {
    issue(group, stream);
    wait_until_settled(lock, "connecting to peers", patience_);
  });
  if (error) return error->what();
  return std::nullopt;
}

/// Precondition: the lock is held.
void NcclCommunicator::issue(const LinkGroup& group, cudaStream_t stream) {
  require(ncclGroupStart(), "starting a group");
  for (const LinkMessage& message : group.sends) {
    require(ncclSend(message.data, message.num_bytes, ncclInt8, message.peer, communicator_, stream),
            "a send to rank " + std::to_string(message.peer));
  }
  for (const LinkMessage& message : group.receives) {
    require(ncclRecv(message.data, message.num_bytes, ncclInt8, message.peer, communicator_, stream),
            "a receive from rank " + std::to_string(message.peer));
  }
  require(ncclGroupEnd(), "a group of messages");
}

/// Precondition: the lock is held.
void NcclCommunicator::require(ncclResult_t status, const std::string& what) const {
  if (status == ncclSuccess || status == ncclInProgress) return;
  throw Error(ErrorKind::kFailure, "NCCL", what + ": " + ncclGetErrorString(status) + " (" + ncclGetLastError(communicator_) + ")", rank_);
}

/// Precondition: the lock is held. It is let go of now and then.
void NcclCommunicator::wait_until_settled(Lock& lock, const std::string& what, std::chrono::seconds patience) {
  const Clock::time_point begin = Clock::now();
  while (communicator_ != nullptr) {
    ncclResult_t state = ncclSuccess;
    require(ncclCommGetAsyncError(communicator_, &state), what);
    require(state, what);
    if (state == ncclSuccess) return;
    const auto waited = Clock::now() - begin;
    if (waited > patience) {
      throw Error(ErrorKind::kFailure, "NCCL", what + " took longer than " + std::to_string(patience.count()) + " s", rank_);
    }
    if (waited < kSpinTime) continue;
    lock.unlock();
    std::this_thread::sleep_for(kPollInterval);
    lock.lock();
  }
}

std::optional<std::string> NcclCommunicator::find_fault() {
  const Lock lock(mutex_);
  if (communicator_ == nullptr) return std::nullopt;
  ncclResult_t state = ncclSuccess;
  const auto error = error_of([&] {
    require(ncclCommGetAsyncError(communicator_, &state), "messages between GPUs are lost");
    require(state, "messages between GPUs are lost");
  });
  if (error) return error->what();
  return std::nullopt;
}

void NcclCommunicator::stop_waiting() noexcept {
  const Lock lock(mutex_);
  if (communicator_ != nullptr) static_cast<void>(ncclCommAbort(std::exchange(communicator_, nullptr)));
}

void NcclCommunicator::finish() noexcept {
  if (communicator_ == nullptr) return;
  const Clock::time_point deadline = Clock::now() + kFarewellPatience;
  ncclResult_t state = ncclCommFinalize(communicator_);
  while (state == ncclSuccess || state == ncclInProgress) {
    if (ncclCommGetAsyncError(communicator_, &state) != ncclSuccess || state != ncclInProgress || Clock::now() > deadline) break;
    std::this_thread::sleep_for(kPollInterval);
  }
  ncclComm_t const communicator = std::exchange(communicator_, nullptr);
  static_cast<void>(state == ncclSuccess ? ncclCommDestroy(communicator) : ncclCommAbort(communicator));
}

}  // namespace hilbertring
