#include "ring/peer_copies.h"

#include <cuda.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "core/cuda/device.h"
#include "core/error.h"

namespace hilbertring {

namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::uint64_t kNumLetters = 64;
constexpr std::int64_t kProbeBytes = std::int64_t{2} << 20;
/// Further than any count gets, and by the driver's cyclic comparison ahead of all of them.
constexpr std::uint32_t kReleased = std::uint32_t{1} << 30;
/// CUDA 11.7: the second form of these functions.
constexpr unsigned kStreamFunctionsSince = 11070;
constexpr unsigned kAddressRangeSince = 3020;

std::size_t index_of(int rank) { return static_cast<std::size_t>(rank); }

void check_driver(CUresult status, const char* what) {
  if (status == CUDA_SUCCESS) return;
  throw Error(ErrorKind::kFailure, "CUDA", std::string(what) + " failed with the driver's code " + std::to_string(static_cast<int>(status)));
}

CUdeviceptr seen_by_gpu(std::uint32_t& counter) {
  void* address = nullptr;
  check(cudaHostGetDevicePointer(&address, &counter, 0));
  return reinterpret_cast<CUdeviceptr>(address);
}

void count_up(std::uint32_t& counter, std::uint32_t value, cudaStream_t stream) {
  static const auto write = driver_function<decltype(&cuStreamWriteValue32)>("cuStreamWriteValue32", kStreamFunctionsSince);
  check_driver(write(stream, seen_by_gpu(counter), value, CU_STREAM_WRITE_VALUE_DEFAULT), "cuStreamWriteValue32");
}

void wait_for(std::uint32_t& counter, std::uint32_t value, cudaStream_t stream) {
  static const auto wait = driver_function<decltype(&cuStreamWaitValue32)>("cuStreamWaitValue32", kStreamFunctionsSince);
  check_driver(wait(stream, seen_by_gpu(counter), value, CU_STREAM_WAIT_VALUE_GEQ), "cuStreamWaitValue32");
}

PeerHandle handle_of(std::byte* data) {
  cudaIpcMemHandle_t of_cuda{};
  check(cudaIpcGetMemHandle(&of_cuda, data));
  PeerHandle handle{};
  std::memcpy(handle.data(), &of_cuda, sizeof of_cuda);
  return handle;
}

std::set<int> peers_of(const std::vector<LinkMessage>& messages) {
  std::set<int> peers;
  for (const LinkMessage& message : messages) peers.insert(message.peer);
  return peers;
}

void copy(std::byte* to, const std::byte* from, const ByteRuns& runs, cudaStream_t stream) {
  const auto width = static_cast<std::size_t>(runs.width);
  if (runs.count == 1) return check(cudaMemcpyAsync(to + runs.offset, from + runs.offset, width, cudaMemcpyDeviceToDevice, stream));
  const auto pitch = static_cast<std::size_t>(runs.pitch);
  check(cudaMemcpy2DAsync(to + runs.offset, pitch, from + runs.offset, pitch, width, static_cast<std::size_t>(runs.count), cudaMemcpyDeviceToDevice,
                          stream));
}

}  // namespace

/// What a receiver tells a sender.
struct PeerLetter {
  PeerPlace place;
  std::int64_t num_bytes;
};

/// Of an ordered pair of ranks. Counters that different processors write lie on different cache lines; all begin as zeros.
struct PeerBox {
  alignas(kCacheLine) std::uint32_t room;     ///< by the receiver's GPU
  alignas(kCacheLine) std::uint32_t arrived;  ///< by the sender's
  alignas(kCacheLine) std::atomic<std::uint64_t> num_written;
  alignas(kCacheLine) std::atomic<std::uint64_t> num_read;
  std::array<PeerLetter, kNumLetters> letters;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

PeerCopies::PeerCopies(Transport& transport)
    : rank_(static_cast<int>(transport.rank().value)),
      board_(HostBoard::create(transport, [](std::int64_t num_ranks) { return num_ranks * num_ranks * static_cast<std::int64_t>(sizeof(PeerBox)); })),
      num_sent_(static_cast<std::size_t>(transport.num_ranks())),
      num_received_(static_cast<std::size_t>(transport.num_ranks())) {
  is_board_shared_ = share_board();
  const std::vector<std::string> found = find_reachable(transport);
  for (std::size_t i = 0; i < found.size(); ++i) {
    reaches_.push_back(found[index_of(rank_)][i] == '1' && found[i][index_of(rank_)] == '1');
    for (std::size_t j = 0; j < found.size(); ++j) all_reach_each_other_ = all_reach_each_other_ && (i == j || found[i][j] == '1');
  }
}

PeerCopies::~PeerCopies() {
  unmap_all();
  if (is_board_shared_) static_cast<void>(cudaHostUnregister(board_->bytes().data()));
}

bool PeerCopies::share_board() {
  if (!board_) return false;
  if (cudaHostRegister(board_->bytes().data(), board_->bytes().size(), cudaHostRegisterMapped | cudaHostRegisterPortable) == cudaSuccess) return true;
  static_cast<void>(cudaGetLastError());  // told by the result
  return false;
}

/// Tries it out: a piece of memory of every rank, mapped by every other on its host. Of every rank '1' for each that it reaches, else '0'; what can't
/// be had on a rank is told as "reaches nobody".
std::vector<std::string> PeerCopies::find_reachable(Transport& transport) {
  Buffer probe;
  std::string own;
  const auto offer = [&] {
    probe = make_device_buffer(kProbeBytes, nullptr);
    const PeerHandle handle = handle_of(probe.data());
    own.assign(handle.begin(), handle.end());
  };
  if (is_board_shared_) static_cast<void>(error_of(offer));
  const std::vector<std::string> offers = transport.all_gather(own);
  std::string reached(offers.size(), '0');
  const auto try_all = [&] {
    for (const Rank peer : board_->ranks()) {
      const std::string& text = offers[index_of(static_cast<int>(peer.value))];
      PeerHandle handle{};
      std::ranges::copy(text, handle.begin());
      if (peer.value != rank_ && !text.empty() && !error_of([&] { mapped(handle); })) reached[index_of(static_cast<int>(peer.value))] = '1';
    }
  };
  if (!own.empty()) try_all();
  unmap_all();
  // And all are done with the pieces.
  return transport.all_gather(reached);
}

std::size_t PeerCopies::place_on_board(int rank) const {
  return static_cast<std::size_t>(std::ranges::lower_bound(board_->ranks(), Rank(rank)) - board_->ranks().begin());
}

PeerBox& PeerCopies::box(int from, int to) const {
  auto* const boxes = reinterpret_cast<PeerBox*>(board_->bytes().data());
  return boxes[place_on_board(from) * board_->ranks().size() + place_on_board(to)];
}

PeerPlace PeerCopies::place_of(std::byte* data) {
  static const auto range = driver_function<decltype(&cuMemGetAddressRange)>("cuMemGetAddressRange", kAddressRangeSince);
  CUdeviceptr base = 0;
  check_driver(range(&base, nullptr, reinterpret_cast<CUdeviceptr>(data)), "cuMemGetAddressRange");
  const auto found = own_handles_.find(base);
  const PeerHandle& handle = found != own_handles_.end() ? found->second : own_handles_.emplace(base, handle_of(data)).first->second;
  return {.allocation = handle, .offset = static_cast<std::int64_t>(reinterpret_cast<CUdeviceptr>(data) - base)};
}

std::byte* PeerCopies::mapped(const PeerHandle& handle) {
  if (const auto found = mapped_.find(handle); found != mapped_.end()) return found->second;
  cudaIpcMemHandle_t of_cuda{};
  std::memcpy(&of_cuda, handle.data(), sizeof of_cuda);
  void* memory = nullptr;
  check(cudaIpcOpenMemHandle(&memory, of_cuda, cudaIpcMemLazyEnablePeerAccess));
  return mapped_.emplace(handle, static_cast<std::byte*>(memory)).first->second;
}

void PeerCopies::unmap_all() noexcept {
  for (const auto& [handle, memory] : mapped_) static_cast<void>(cudaIpcCloseMemHandle(memory));
  mapped_.clear();
}

void PeerCopies::post(const std::vector<LinkMessage>& receives, cudaStream_t stream, const Patience& patience) {
  for (const LinkMessage& message : receives) {
    PeerBox& from = box(message.peer, rank_);
    const std::uint64_t number = from.num_written.load(std::memory_order_relaxed);
    while (number - from.num_read.load(std::memory_order_acquire) >= kNumLetters) patience();
    from.letters[number % kNumLetters] = {.place = place_of(message.data), .num_bytes = static_cast<std::int64_t>(message.num_bytes)};
    from.num_written.store(number + 1, std::memory_order_release);
  }
  for (const int peer : peers_of(receives)) count_up(box(peer, rank_).room, ++num_received_[index_of(peer)], stream);
}

void PeerCopies::send(const LinkMessage& message, PeerBox& box, cudaStream_t stream, const Patience& patience) {
  const std::uint64_t number = box.num_read.load(std::memory_order_relaxed);
  while (box.num_written.load(std::memory_order_acquire) == number) patience();
  const PeerLetter letter = box.letters[number % kNumLetters];
  box.num_read.store(number + 1, std::memory_order_release);
  const auto num_bytes = static_cast<std::int64_t>(message.num_bytes);
  if (letter.num_bytes != num_bytes) {
    throw failure("a message of " + std::to_string(num_bytes) + " bytes goes to rank " + std::to_string(message.peer) + ", which expects " +
                  std::to_string(letter.num_bytes));
  }
  std::byte* const to = mapped(letter.place.allocation) + letter.place.offset;
  if (message.parts.empty()) return copy(to, message.data, {.offset = 0, .width = num_bytes, .pitch = num_bytes, .count = 1}, stream);
  for (const ByteRuns& runs : message.parts) copy(to, message.data, runs, stream);
}

void PeerCopies::exchange(const LinkGroup& group, cudaStream_t stream, const Patience& patience) {
  for (const int peer : peers_of(group.sends)) {
    PeerBox& to = box(rank_, peer);
    const std::uint32_t number = ++num_sent_[index_of(peer)];
    wait_for(to.room, number, stream);
    for (const LinkMessage& message : group.sends) {
      if (message.peer == peer) send(message, to, stream, patience);
    }
    count_up(to.arrived, number, stream);
  }
  for (const int peer : peers_of(group.receives)) wait_for(box(peer, rank_).arrived, num_received_[index_of(peer)], stream);
}

void PeerCopies::let_go(Transport& transport) {
  unmap_all();
  own_handles_.clear();
  transport.barrier();
}

void PeerCopies::stop_waiting() noexcept {
  if (!board_) return;
  for (const Rank peer : board_->ranks()) {
    const int other = static_cast<int>(peer.value);
    std::atomic_ref(box(rank_, other).room).store(kReleased);
    std::atomic_ref(box(other, rank_).arrived).store(kReleased);
  }
}

}  // namespace hilbertring
