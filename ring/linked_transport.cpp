#include "ring/linked_transport.h"

#include "core/error.h"
#ifdef HILBERTRING_HAS_CUDA
#include <exception>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/cuda/cuda_device.h"
#include "ring/agreement.h"
#include "ring/link_watch.h"
#include "ring/peer_copies.h"
#endif
#ifdef HILBERTRING_HAS_NCCL
#include <cstring>

#include "ring/nccl_communicator.h"
#endif

namespace hilbertring {

#ifdef HILBERTRING_HAS_NCCL

bool has_nccl_build() { return true; }

namespace {

/// Rank 0's identifier, on every rank.
ncclUniqueId shared_identifier(Transport& host) {
  ncclUniqueId id{};
  agree(host, [&] {
    if (host.rank() != Rank(0)) return;
    const ncclResult_t status = ncclGetUniqueId(&id);
    if (status != ncclSuccess) throw Error(ErrorKind::kFailure, "NCCL", std::string("no identifier for the job: ") + ncclGetErrorString(status));
  });
  const std::string first = host.all_gather(std::string(id.internal, sizeof id.internal)).front();
  std::memcpy(id.internal, first.data(), sizeof id.internal);
  return id;
}

std::unique_ptr<NcclCommunicator> join_through_nccl(Transport& host, std::chrono::seconds patience) {
  const ncclUniqueId id = shared_identifier(host);
  std::unique_ptr<NcclCommunicator> communicator;
  agree(host, [&] {
    communicator = std::make_unique<NcclCommunicator>(id, static_cast<int>(host.rank().value), static_cast<int>(host.num_ranks()), patience);
  });
  return communicator;
}

}  // namespace

#else

bool has_nccl_build() { return false; }

#endif
#if defined(HILBERTRING_HAS_CUDA) && !defined(HILBERTRING_HAS_NCCL)

namespace {

/// What stands for NCCL where there is none: nothing is ever asked of it.
class NcclCommunicator final : public LinkPart {
 public:
  std::optional<std::string> exchange(const LinkGroup&, cudaStream_t) { return "there is no NCCL"; }
  std::optional<std::string> find_fault() override { return std::nullopt; }
  void stop_waiting() noexcept override {}
};

std::unique_ptr<NcclCommunicator> join_through_nccl(Transport&, std::chrono::seconds) {
  throw failure(
      "this program was built without NCCL, which GPUs need that can't map each other's memory: build it where nccl.h is found, or use the transport "
      "mpi");
}

}  // namespace

#endif
#ifdef HILBERTRING_HAS_CUDA

namespace {

class LinkedTransport final : public Transport {
 public:
  LinkedTransport(Transport& host, int gpu, LinkKind kind, std::chrono::seconds patience)
      : host_(host), watch_(static_cast<int>(host.rank().value), gpu, patience) {
    agree(host, [&] { use_cuda_device(gpu); });
    if (kind == LinkKind::kCopyEngines) peers_ = std::make_unique<PeerCopies>(host);
    if (!peers_ || !peers_->all_reach_each_other()) nccl_ = join_through_nccl(host, patience);
    std::vector<LinkPart*> parts;
    if (peers_) parts.push_back(peers_.get());
    if (nccl_) parts.push_back(nccl_.get());
    watch_.start(std::move(parts));
  }
  LinkedTransport(const LinkedTransport&) = delete;
  LinkedTransport& operator=(const LinkedTransport&) = delete;
  // The watch calls the parts, which go first.
  ~LinkedTransport() override { watch_.stop(); }

  std::string name() const override { return peers_ ? "peer" : "nccl"; }
  Rank rank() const override { return host_.rank(); }
  std::int64_t num_ranks() const override { return host_.num_ranks(); }

  Transfer send(std::span<const std::byte> bytes, Rank to, int tag) override { return host_.send(bytes, to, tag); }
  Transfer receive(std::span<std::byte> bytes, Rank from, int tag) override { return host_.receive(bytes, from, tag); }
  void progress() override { host_.progress(); }
  bool links_devices() const override { return true; }
  std::unique_ptr<DeviceLink> link(ComputeDevice& device) override;

  void barrier() override { host_.barrier(); }
  void all_reduce(std::span<std::int64_t> values, Reduction reduction) override { host_.all_reduce(values, reduction); }
  void all_reduce(std::span<double> values, Reduction reduction) override { host_.all_reduce(values, reduction); }
  std::vector<std::string> all_gather(const std::string& text) override { return host_.all_gather(text); }
  std::int64_t sent_bytes() const override { return host_.sent_bytes() + linked_bytes_; }

 private:
  friend class GpuLink;

  bool copies_to(int peer) const { return peers_ && peers_->reaches(peer); }

  Transport& host_;
  LinkWatch watch_;
  std::unique_ptr<PeerCopies> peers_;       ///< null: NCCL alone
  std::unique_ptr<NcclCommunicator> nccl_;  ///< null where nobody needs it
  std::int64_t linked_bytes_ = 0;
};

class GpuLink final : public DeviceLink {
 public:
  GpuLink(LinkedTransport& transport, ComputeDevice& device)
      : transport_(transport), stream_(stream_of(device, WorkQueue::kTransfer)), num_exceptions_(std::uncaught_exceptions()) {}
  GpuLink(const GpuLink&) = delete;
  GpuLink& operator=(const GpuLink&) = delete;
  // While an exception unwinds the stack nobody else will come to what this rank's streams wait for, and its device waits for its streams.
  ~GpuLink() override {
    if (std::uncaught_exceptions() > num_exceptions_) transport_.watch_.fail("this rank failed");
  }

  void begin() override { copied_ = through_nccl_ = {}; }
  void send(std::span<const std::byte> bytes, Rank to, int tag) override { add_send(bytes, {}, static_cast<std::int64_t>(bytes.size()), to, tag); }
  void send_parts(std::span<const std::byte> memory, std::span<const ByteRuns> parts, Rank to, int tag) override {
    std::int64_t num_bytes = 0;
    for (const ByteRuns& part : parts) num_bytes += part.size_bytes();
    add_send(memory, {parts.begin(), parts.end()}, num_bytes, to, tag);
  }
  void receive(std::span<std::byte> bytes, Rank from, int tag) override {
    const int peer = static_cast<int>(from.value);
    group_with(peer).receives.push_back({.data = bytes.data(), .num_bytes = bytes.size(), .parts = {}, .peer = peer, .tag = tag});
  }
  bool takes_parts(Rank peer) const override { return transport_.copies_to(static_cast<int>(peer.value)); }
  void end() override;
  void check() override { transport_.watch_.check(); }
  void let_go() override {
    if (transport_.peers_) transport_.peers_->let_go(transport_.host_);
  }

 private:
  LinkGroup& group_with(int peer) { return transport_.copies_to(peer) ? copied_ : through_nccl_; }
  void add_send(std::span<const std::byte> memory, std::vector<ByteRuns> parts, std::int64_t num_bytes, Rank to, int tag) {
    const int peer = static_cast<int>(to.value);
    transport_.linked_bytes_ += num_bytes;
    auto* const data = const_cast<std::byte*>(memory.data());  // a send only reads
    group_with(peer).sends.push_back({.data = data, .num_bytes = memory.size(), .parts = std::move(parts), .peer = peer, .tag = tag});
  }

  LinkedTransport& transport_;
  cudaStream_t stream_;
  int num_exceptions_;
  LinkGroup copied_, through_nccl_;
};

void GpuLink::end() {
  LinkWatch& watch = transport_.watch_;
  LinkGroup copied = std::exchange(copied_, {}), through_nccl = std::exchange(through_nccl_, {});
  copied.sort_by_tag();
  through_nccl.sort_by_tag();
  const auto begin = std::chrono::steady_clock::now();
  const auto patience = [&] {
    if (std::chrono::steady_clock::now() - begin > watch.patience()) watch.fail_of_silence();
    watch.check();
    std::this_thread::yield();
  };
  if (copied.is_empty() && through_nccl.is_empty()) return;
  watch.check();
  if (!copied.is_empty()) transport_.peers_->post(copied.receives, stream_, patience);
  if (!through_nccl.is_empty()) {
    if (const auto fault = transport_.nccl_->exchange(through_nccl, stream_)) watch.fail(*fault);
  }
  if (!copied.is_empty()) transport_.peers_->exchange(copied, stream_, patience);
  watch.look_after(stream_);
}

std::unique_ptr<DeviceLink> LinkedTransport::link(ComputeDevice& device) { return std::make_unique<GpuLink>(*this, device); }

}  // namespace

std::unique_ptr<Transport> make_linked_transport(Transport& host, int gpu, LinkKind kind, std::chrono::seconds patience) {
  return std::make_unique<LinkedTransport>(host, gpu, kind, patience);
}

#else

std::unique_ptr<Transport> make_linked_transport(Transport&, int, LinkKind, std::chrono::seconds) {
  throw failure("this program was built without CUDA: there are no GPUs to link");
}

#endif

}  // namespace hilbertring
