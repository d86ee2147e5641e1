#include "ring/nccl_communicator.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "core/error.h"

namespace hilbertring {

namespace {

constexpr auto kMeetingPatience = std::chrono::seconds(60);
constexpr auto kFarewellPatience = std::chrono::seconds(10);
/// NCCL hands a group of connected peers to the stream in less than this, while the device may have nothing to do: nobody sleeps before.
constexpr auto kSpinTime = std::chrono::milliseconds(1);
constexpr auto kPollInterval = std::chrono::microseconds(50);
constexpr auto kWatchInterval = std::chrono::milliseconds(100);

/// Both ends of a pair of ranks hand NCCL their messages in this order, since it knows no tags.
void sort_by_tag(std::vector<LinkMessage>& messages) { std::ranges::stable_sort(messages, {}, &LinkMessage::tag); }

}  // namespace

NcclCommunicator::NcclCommunicator(const ncclUniqueId& id, int rank, int num_ranks, int gpu, std::chrono::seconds patience,
                                   std::function<void()> release)
    : rank_(rank), gpu_(gpu), patience_(patience), release_(std::move(release)), num_exceptions_(std::uncaught_exceptions()) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  Lock lock(mutex_);
  const ncclResult_t status = ncclCommInitRankConfig(&communicator_, num_ranks, id, rank, &config);
  if (communicator_ == nullptr) {
    throw Error(ErrorKind::kFailure, "NCCL", "rank " + std::to_string(rank) + " can't join the others: " + ncclGetErrorString(status), rank);
  }
  require(status, "joining the other ranks");
  wait_until_settled(lock, "joining the other ranks", kMeetingPatience);
  watcher_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

NcclCommunicator::~NcclCommunicator() {
  if (watcher_.joinable()) {
    watcher_.request_stop();
    wake_.notify_all();
    watcher_.join();
  }
  // While an exception unwinds the stack the other ranks may be anywhere, and never come to an orderly end.
  if (std::uncaught_exceptions() > num_exceptions_) {
    fail("this rank failed");
  } else {
    finish();
  }
}

void NcclCommunicator::exchange(LinkGroup group, cudaStream_t stream) {
  if (group.sends.empty() && group.receives.empty()) return;
  sort_by_tag(group.sends);
  sort_by_tag(group.receives);
  Lock lock(mutex_);
  if (failure_) throw Error(ErrorKind::kFailure, "NCCL", *failure_, rank_);
  issue(group, stream);
  wait_until_settled(lock, "connecting to peers", patience_);
  note_group(stream);
}

void NcclCommunicator::look_after(cudaStream_t stream) {
  const Lock lock(mutex_);
  if (failure_) throw Error(ErrorKind::kFailure, "NCCL", *failure_, rank_);
  note_group(stream);
}

/// Precondition: the lock is held.
void NcclCommunicator::note_group(cudaStream_t stream) {
  Event is_through;
  is_through.record(stream);
  if (under_way_.empty()) last_arrival_ = Clock::now();
  under_way_.push_back(std::move(is_through));
}

void NcclCommunicator::give_up(const std::string& why) {
  const Lock lock(mutex_);
  fail(why);
}

void NcclCommunicator::give_up_waiting() { give_up(silence_text()); }

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

void NcclCommunicator::check() {
  const Lock lock(mutex_);
  if (failure_) throw Error(ErrorKind::kFailure, "NCCL", *failure_, rank_);
}

/// Precondition: the lock is held.
void NcclCommunicator::require(ncclResult_t status, const std::string& what) {
  if (status == ncclSuccess || status == ncclInProgress) return;
  fail(what + ": " + ncclGetErrorString(status) + " (" + ncclGetLastError(communicator_) + ")");
  throw Error(ErrorKind::kFailure, "NCCL", *failure_, rank_);
}

void NcclCommunicator::wait_until_settled(Lock& lock, const std::string& what, std::chrono::seconds patience) {
  const Clock::time_point begin = Clock::now();
  while (true) {
    if (failure_) throw Error(ErrorKind::kFailure, "NCCL", *failure_, rank_);
    ncclResult_t state = ncclSuccess;
    require(ncclCommGetAsyncError(communicator_, &state), what);
    require(state, what);
    if (state == ncclSuccess) return;
    const auto waited = Clock::now() - begin;
    if (waited > patience) {
      fail(what + " took longer than " + std::to_string(patience.count()) + " s");
      continue;
    }
    if (waited < kSpinTime) continue;
    lock.unlock();
    std::this_thread::sleep_for(kPollInterval);
    lock.lock();
  }
}

void NcclCommunicator::watch(const std::stop_token& stop) {
  try {
    use_cuda_device(gpu_);
    Lock lock(mutex_);
    while (!stop.stop_requested()) {
      wake_.wait_for(lock, stop, kWatchInterval, [] { return false; });
      if (failure_) {
        release_();
      } else if (!stop.stop_requested()) {
        look_after_groups();
      }
    }
  } catch (const std::exception& exception) {
    const Lock lock(mutex_);
    fail(exception.what());
  }
}

/// Precondition: the lock is held, and nothing has failed yet.
void NcclCommunicator::look_after_groups() {
  while (!under_way_.empty() && under_way_.front().is_reached()) {
    under_way_.pop_front();
    last_arrival_ = Clock::now();
  }
  ncclResult_t state = ncclSuccess;
  const ncclResult_t status = ncclCommGetAsyncError(communicator_, &state);
  for (const ncclResult_t result : {status, state}) {
    if (result == ncclSuccess || result == ncclInProgress) continue;
    return fail(std::string("messages between GPUs are lost: ") + ncclGetErrorString(result) + " (" + ncclGetLastError(communicator_) + ")");
  }
  if (under_way_.empty() || Clock::now() - last_arrival_ <= patience_) return;
  fail(silence_text());
}

std::string NcclCommunicator::silence_text() const {
  return "no message has come from another GPU for " + std::to_string(patience_.count()) + " s: a rank hangs or is gone";
}

/// Precondition: the lock is held, or nobody else is left.
void NcclCommunicator::fail(const std::string& why) noexcept {
  if (!failure_) failure_ = why;
  release_();
  if (communicator_ != nullptr) static_cast<void>(ncclCommAbort(std::exchange(communicator_, nullptr)));
}

/// The orderly end, of all ranks together.
void NcclCommunicator::finish() noexcept {
  if (communicator_ == nullptr) return;
  const Clock::time_point deadline = Clock::now() + kFarewellPatience;
  ncclResult_t state = ncclCommFinalize(communicator_);
  while (state == ncclSuccess || state == ncclInProgress) {
    if (ncclCommGetAsyncError(communicator_, &state) != ncclSuccess || state != ncclInProgress || Clock::now() > deadline) break;
    std::this_thread::sleep_for(kPollInterval);
  }
  if (state != ncclSuccess) return fail("the communicator did not come to its end");
  static_cast<void>(ncclCommDestroy(std::exchange(communicator_, nullptr)));
}

}  // namespace hilbertring
