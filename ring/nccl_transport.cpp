#include "ring/nccl_transport.h"

#include "core/error.h"
#ifdef HILBERTRING_HAS_NCCL
#include <cstring>
#include <exception>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/cuda/cuda_device.h"
#include "ring/agreement.h"
#include "ring/nccl_communicator.h"
#include "ring/peer_copies.h"
#endif

namespace hilbertring {

#ifdef HILBERTRING_HAS_NCCL

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

class NcclTransport final : public Transport {
 public:
  NcclTransport(Transport& host, int gpu, HostLinks host_links, std::chrono::seconds patience) : host_(host) {
    const ncclUniqueId id = shared_identifier(host);
    agree(host, [&] { use_cuda_device(gpu); });
    if (host_links == HostLinks::kCopyEngines) peers_ = std::make_unique<PeerCopies>(host);
    agree(host, [&] {
      communicator_ = std::make_unique<NcclCommunicator>(id, static_cast<int>(host.rank().value), static_cast<int>(host.num_ranks()), gpu, patience,
                                                         [this] { release_streams(); });
    });
  }

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
  friend class NcclLink;

  bool copies_to(int peer) const { return peers_ && peers_->reaches(peer); }
  void release_streams() const noexcept {
    if (peers_) peers_->release_streams();
  }

  Transport& host_;
  std::unique_ptr<PeerCopies> peers_;  ///< null: NCCL alone
  std::unique_ptr<NcclCommunicator> communicator_;
  std::int64_t linked_bytes_ = 0;
};

class NcclLink final : public DeviceLink {
 public:
  NcclLink(NcclTransport& transport, ComputeDevice& device)
      : transport_(transport), stream_(stream_of(device, WorkQueue::kTransfer)), num_exceptions_(std::uncaught_exceptions()) {}
  NcclLink(const NcclLink&) = delete;
  NcclLink& operator=(const NcclLink&) = delete;
  // While an exception unwinds the stack nobody else will come to what this rank's streams wait for, and its device waits for its streams.
  ~NcclLink() override {
    if (std::uncaught_exceptions() > num_exceptions_) transport_.communicator_->give_up("this rank failed");
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
  void check() override { transport_.communicator_->check(); }
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

  NcclTransport& transport_;
  cudaStream_t stream_;
  int num_exceptions_;
  LinkGroup copied_, through_nccl_;
};

void NcclLink::end() {
  NcclCommunicator& communicator = *transport_.communicator_;
  const auto begin = std::chrono::steady_clock::now();
  const auto patience = [&] {
    communicator.check();
    if (std::chrono::steady_clock::now() - begin > communicator.patience()) communicator.give_up_waiting();
    std::this_thread::yield();
  };
  const LinkGroup copied = std::exchange(copied_, {});
  const bool copies = !copied.sends.empty() || !copied.receives.empty();
  if (copies) transport_.peers_->post(copied.receives, stream_, patience);
  communicator.exchange(std::exchange(through_nccl_, {}), stream_);
  if (!copies) return;
  transport_.peers_->exchange(copied, stream_, patience);
  communicator.look_after(stream_);
}

std::unique_ptr<DeviceLink> NcclTransport::link(ComputeDevice& device) { return std::make_unique<NcclLink>(*this, device); }

}  // namespace

bool has_nccl_build() { return true; }

std::unique_ptr<Transport> make_nccl_transport(Transport& host, int gpu, HostLinks host_links, std::chrono::seconds patience) {
  return std::make_unique<NcclTransport>(host, gpu, host_links, patience);
}

#else

bool has_nccl_build() { return false; }

std::unique_ptr<Transport> make_nccl_transport(Transport&, int, HostLinks, std::chrono::seconds) {
  throw failure("this program was built without NCCL: build it where nccl.h is found, or use the transport mpi");
}

#endif

}  // namespace hilbertring
