#include "ring/nccl_transport.h"

#include "core/error.h"
#ifdef HILBERTRING_HAS_NCCL
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda/cuda_device.h"
#include "ring/agreement.h"
#include "ring/nccl_communicator.h"
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
  NcclTransport(Transport& host, int gpu, std::chrono::seconds patience) : host_(host) {
    const ncclUniqueId id = shared_identifier(host);
    agree(host, [&] {
      use_cuda_device(gpu);
      communicator_ = std::make_unique<NcclCommunicator>(id, static_cast<int>(host.rank().value), static_cast<int>(host.num_ranks()), gpu, patience);
    });
  }

  std::string name() const override { return "nccl"; }
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

  Transport& host_;
  std::unique_ptr<NcclCommunicator> communicator_;
  std::int64_t linked_bytes_ = 0;
};

class NcclLink final : public DeviceLink {
 public:
  NcclLink(NcclTransport& transport, ComputeDevice& device) : transport_(transport), stream_(stream_of(device, WorkQueue::kTransfer)) {}

  void begin() override { group_ = {}; }
  void send(std::span<const std::byte> bytes, Rank to, int tag) override {
    transport_.linked_bytes_ += static_cast<std::int64_t>(bytes.size());
    group_.sends.push_back(message(const_cast<std::byte*>(bytes.data()), bytes.size(), to, tag));  // ncclSend only reads
  }
  void receive(std::span<std::byte> bytes, Rank from, int tag) override { group_.receives.push_back(message(bytes.data(), bytes.size(), from, tag)); }
  void end() override { transport_.communicator_->exchange(std::exchange(group_, {}), stream_); }
  void check() override { transport_.communicator_->check(); }

 private:
  static NcclMessage message(std::byte* data, std::size_t num_bytes, Rank peer, int tag) {
    return {.data = data, .num_bytes = num_bytes, .peer = static_cast<int>(peer.value), .tag = tag};
  }

  NcclTransport& transport_;
  cudaStream_t stream_;
  NcclGroup group_;
};

std::unique_ptr<DeviceLink> NcclTransport::link(ComputeDevice& device) { return std::make_unique<NcclLink>(*this, device); }

}  // namespace

bool has_nccl_build() { return true; }

std::unique_ptr<Transport> make_nccl_transport(Transport& host, int gpu, std::chrono::seconds patience) {
  return std::make_unique<NcclTransport>(host, gpu, patience);
}

#else

bool has_nccl_build() { return false; }

std::unique_ptr<Transport> make_nccl_transport(Transport&, int, std::chrono::seconds) {
  throw failure("this program was built without NCCL: build it where nccl.h is found, or use the transport mpi");
}

#endif

}  // namespace hilbertring
