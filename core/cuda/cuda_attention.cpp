#include "core/cuda/cuda_attention.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda/device.h"
#include "core/cuda/kernels.h"
#include "core/cuda/work_list.h"
#include "core/error.h"
#include "core/operand_checks.h"

namespace hilbertring {

namespace {

constexpr std::int64_t kAlignment = 256;
/// Rows are copied 16 bytes at a time.
constexpr std::uintptr_t kTensorAlignment = 16;

constexpr std::int64_t round_up(std::int64_t n) { return ceil_div(n, kAlignment) * kAlignment; }

void check_alignment(const std::string& name, const ConstTensor& tensor) {
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.data);
  if (address % kTensorAlignment == 0) return;
  throw usage_error("tensor " + name + " begins " + std::to_string(address % kTensorAlignment) +
                    " bytes behind a multiple of 16, but the GPU's kernels need it at one");
}

/// Places of a work list's arrays in one run of memory, so that one copy takes them all to the device. The extremes behind them are made there.
struct ListLayout {
  explicit ListLayout(const WorkList& list) {
    tiles = take(std::ssize(list.tiles), sizeof(WorkTile));
    own_runs = take(std::ssize(list.own_runs), sizeof(OwnRun));
    meetings = take(std::ssize(list.meetings), sizeof(Meeting));
    tasks = take(std::ssize(list.extremes), sizeof(ExtremesTask));
    masks = take(std::ssize(list.mask_words), sizeof(std::uint32_t));
    claims = take(std::ssize(list.launch_ends), sizeof(std::int32_t));
    uploaded_bytes = used_;
    extremes = take(std::ssize(list.extremes), sizeof(TimeExtremes));
    total_bytes = used_;
  }

  std::int64_t tiles, own_runs, meetings, tasks, masks, claims, extremes;
  std::int64_t uploaded_bytes, total_bytes;

 private:
  std::int64_t take(std::int64_t count, std::size_t size) {
    const std::int64_t at = used_;
    used_ = round_up(used_ + count * static_cast<std::int64_t>(size));
    return at;
  }
  std::int64_t used_ = 0;
};

template <class T>
void put(std::byte* to, const std::vector<T>& items) {
  if (!items.empty()) std::memcpy(to, items.data(), items.size() * sizeof(T));
}

class CudaAttention final : public BlockAttention {
 public:
  CudaAttention(cudaStream_t stream, std::shared_ptr<MemoryMeter> meter)
      : stream_(stream), meter_(std::move(meter)), counter_(make_device_buffer(static_cast<std::int64_t>(sizeof(unsigned long long)), meter_)) {
    check(cudaMemsetAsync(counter_.data(), 0, sizeof(unsigned long long), stream_));
  }

  std::string description() const override { return cuda_device_description(); }

  std::int64_t forward(const Pattern& pattern, const ForwardOperands& operands, std::span<const ChunkPair> pairs) override {
    check_forward(pattern, operands, pairs);
    for (const auto& [name, tensor] :
         {std::pair<const char*, ConstTensor>{"q", operands.q}, {"k", operands.k}, {"v", operands.v}, {"o", operands.o}}) {
      check_alignment(name, tensor);
    }
    const WorkList list = make_work_list(pattern, pairs, Owner::kQueries, forward_tile_rows(operands.q.type, operands.q.columns));
    auto* const counter = pattern.causal() == Causal::kSequence ? reinterpret_cast<unsigned long long*>(counter_.data()) : nullptr;
    visit_element_type(operands.q.type, [&]<class Stored>(Stored) {
      run(list, pattern.causal(), operands.times, [&](const Launch& launch) { launch_forward<Stored>(launch, operands, counter); });
    });
    return list.num_allowed_pairs;
  }

  std::int64_t take_uncounted_pairs() override {
    unsigned long long num_pairs = 0;
    check(cudaMemcpyAsync(&num_pairs, counter_.data(), sizeof num_pairs, cudaMemcpyDeviceToHost, stream_));
    check(cudaMemsetAsync(counter_.data(), 0, sizeof num_pairs, stream_));
    check(cudaStreamSynchronize(stream_));
    return static_cast<std::int64_t>(num_pairs);
  }

  void finish_forward(const ForwardOperands& operands) override {
    check_state(operands);
    launch_finish(operands, stream_);
  }

  void dot_rows(const Tensor& delta, const ConstTensor& d_o, const ConstTensor& o) override {
    check_dot_rows(delta, d_o, o);
    launch_dot_rows(delta, d_o, o, stream_);
  }

  void backward(const Pattern& pattern, const BackwardOperands& operands, std::span<const ChunkPair> pairs) override {
    check_backward(pattern, operands, pairs);
    for (const auto& [name, tensor] : {std::pair<const char*, ConstTensor>{"q", operands.q},
                                       {"d_o", operands.d_o},
                                       {"k", operands.k},
                                       {"v", operands.v},
                                       {"dq", operands.dq},
                                       {"dk", operands.dk},
                                       {"dv", operands.dv}}) {
      check_alignment(name, tensor);
    }
    visit_element_type(operands.q.type, [&]<class Stored>(Stored) {
      const auto rows = [&](Owner owner) { return backward_tile_rows(operands.q.type, operands.q.columns, owner); };
      run(make_work_list(pattern, pairs, Owner::kQueries, rows(Owner::kQueries)), pattern.causal(), operands.times,
          [&](const Launch& launch) { launch_query_gradient<Stored>(launch, operands); });
      run(make_work_list(pattern, pairs, Owner::kKeys, rows(Owner::kKeys)), pattern.causal(), operands.times,
          [&](const Launch& launch) { launch_key_gradients<Stored>(launch, operands); });
    });
  }

 private:
  /// Pinned memory that a copy may still be reading, until the event.
  struct Staging {
    Buffer buffer;
    Event copied;
  };

  /// Uploads the list and calls launch(Launch) for each of its launches.
  template <class LaunchOne>
  void run(const WorkList& list, Causal causal, const Times& times, LaunchOne&& launch_one) {
    if (list.tiles.empty()) return;
    const ListLayout layout(list);
    const std::byte* const data = upload(list, layout);
    auto* const extremes = reinterpret_cast<TimeExtremes*>(list_memory_.data() + layout.extremes);
    if (!list.extremes.empty()) {
      launch_extremes(reinterpret_cast<const ExtremesTask*>(data + layout.tasks), std::ssize(list.extremes), times, extremes, stream_);
    }
    auto* num_claimed = reinterpret_cast<std::int32_t*>(list_memory_.data() + layout.claims);
    std::int64_t begin = 0;
    for (const std::int64_t end : list.launch_ends) {
      launch_one(Launch{.tiles = reinterpret_cast<const WorkTile*>(data + layout.tiles) + begin,
                        .num_tiles = end - begin,
                        .own_runs = reinterpret_cast<const OwnRun*>(data + layout.own_runs),
                        .meetings = reinterpret_cast<const Meeting*>(data + layout.meetings),
                        .extremes = extremes,
                        .mask_words = reinterpret_cast<const std::uint32_t*>(data + layout.masks),
                        .strides = list.strides,
                        .num_claimed = num_claimed++,
                        .causal = causal,
                        .stream = stream_});
      begin = end;
    }
  }

  /// Two staging buffers, so that the host can write the next list while the last one is being copied. The device's copy is one: the stream keeps the
  /// next upload behind the kernels that read the last.
  const std::byte* upload(const WorkList& list, const ListLayout& layout) {
    std::swap(staging_[0], staging_[1]);
    Staging& staging = staging_[0];
    staging.copied.wait();
    grow(staging.buffer, layout.uploaded_bytes, make_pinned_buffer);
    grow(list_memory_, layout.total_bytes, make_device_buffer);
    std::byte* const to = staging.buffer.data();
    put(to + layout.tiles, list.tiles);
    put(to + layout.own_runs, list.own_runs);
    put(to + layout.meetings, list.meetings);
    put(to + layout.tasks, list.extremes);
    put(to + layout.masks, list.mask_words);
    put(to + layout.claims, std::vector<std::int32_t>(list.launch_ends.size(), 0));
    check(cudaMemcpyAsync(list_memory_.data(), to, static_cast<std::size_t>(layout.uploaded_bytes), cudaMemcpyHostToDevice, stream_));
    staging.copied.record(stream_);
    return list_memory_.data();
  }

  /// Grows by half at least, so that growing ends soon. Freeing device memory waits for the kernels that use it.
  void grow(Buffer& buffer, std::int64_t num_bytes, Buffer (*make)(std::int64_t, std::shared_ptr<MemoryMeter>)) {
    if (buffer.size_bytes() >= num_bytes) return;
    const std::int64_t size = std::max(num_bytes, buffer.size_bytes() + buffer.size_bytes() / 2);
    buffer = Buffer();
    buffer = make(size, meter_);
  }

  cudaStream_t stream_;
  std::shared_ptr<MemoryMeter> meter_;
  Buffer counter_;
  std::array<Staging, 2> staging_;
  Buffer list_memory_;
};

}  // namespace

std::unique_ptr<BlockAttention> make_cuda_attention(cudaStream_t stream, std::shared_ptr<MemoryMeter> meter) {
  return std::make_unique<CudaAttention>(stream, std::move(meter));
}

}  // namespace hilbertring
