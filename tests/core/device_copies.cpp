#include "device_copies.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "core/cuda/cuda_attention.h"
#include "core/cuda/device.h"
#include "core/error.h"

namespace hilbertring {

namespace {

constexpr std::int64_t kMarginBytes = 4096;
/// NaN in every type of element.
constexpr int kPoison = 0xff;

/// One tensor on the device, with margins.
class DeviceCopy {
 public:
  DeviceCopy(const std::byte* host, std::int64_t num_bytes)
      : size_(num_bytes),
        image_(static_cast<std::size_t>(num_bytes + 2 * kMarginBytes), std::byte{kPoison}),
        buffer_(make_device_buffer(std::ssize(image_), nullptr)) {
    std::memcpy(image_.data() + kMarginBytes, host, static_cast<std::size_t>(num_bytes));
    check(cudaMemcpy(buffer_.data(), image_.data(), image_.size(), cudaMemcpyHostToDevice));
  }

  std::byte* data() const { return buffer_.data() + kMarginBytes; }

  void copy_back(std::byte* host) {
    check(cudaMemcpy(image_.data(), buffer_.data(), image_.size(), cudaMemcpyDeviceToHost));
    const auto is_poison = [](std::byte b) { return b == std::byte{kPoison}; };
    if (!std::all_of(image_.begin(), image_.begin() + kMarginBytes, is_poison) ||
        !std::all_of(image_.end() - kMarginBytes, image_.end(), is_poison)) {
      throw failure("a kernel wrote outside its tensor");
    }
    std::memcpy(host, image_.data() + kMarginBytes, static_cast<std::size_t>(size_));
  }

 private:
  std::int64_t size_;
  std::vector<std::byte> image_;
  Buffer buffer_;
};

/// Copies of a call's operands; results go back when the call is over.
class DeviceCopies {
 public:
  ConstTensor input(ConstTensor tensor) {
    copies_.emplace_back(tensor.data, tensor.size_bytes());
    tensor.data = copies_.back().data();
    return tensor;
  }
  Tensor result(Tensor tensor) {
    copies_.emplace_back(tensor.data, tensor.size_bytes());
    results_.emplace_back(copies_.size() - 1, tensor.data);
    tensor.data = copies_.back().data();
    return tensor;
  }
  std::span<const std::int64_t> times(std::span<const std::int64_t> values) {
    copies_.emplace_back(reinterpret_cast<const std::byte*>(values.data()), static_cast<std::int64_t>(values.size_bytes()));
    return {reinterpret_cast<const std::int64_t*>(copies_.back().data()), values.size()};
  }
  void copy_results_back() {
    for (const auto& [index, host] : results_) copies_[index].copy_back(host);
  }

 private:
  std::vector<DeviceCopy> copies_;
  std::vector<std::pair<std::size_t, std::byte*>> results_;
};

class CopyingCudaAttention final : public BlockAttention {
 public:
  explicit CopyingCudaAttention(std::int64_t score_gradient_bytes) : attention_(make_cuda_attention(stream_.get(), nullptr, score_gradient_bytes)) {}

  std::string description() const override { return attention_->description(); }

  std::int64_t forward(const Pattern& pattern, const ForwardOperands& host, std::span<const ChunkPair> pairs) override {
    DeviceCopies copies;
    const ForwardOperands device = copy(host, copies);
    wait_for_uploads();
    const std::int64_t num_pairs = attention_->forward(pattern, device, pairs);
    finish(copies);
    return num_pairs + attention_->take_uncounted_pairs();
  }

  void finish_forward(const ForwardOperands& host) override {
    DeviceCopies copies;
    const ForwardOperands device = copy(host, copies);
    wait_for_uploads();
    attention_->finish_forward(device);
    finish(copies);
  }

  void dot_rows(const Tensor& delta, const ConstTensor& d_o, const ConstTensor& o) override {
    DeviceCopies copies;
    const Tensor device_delta = copies.result(delta);
    const ConstTensor device_d_o = copies.input(d_o);
    const ConstTensor device_o = copies.input(o);
    wait_for_uploads();
    attention_->dot_rows(device_delta, device_d_o, device_o);
    finish(copies);
  }

  void backward(const Pattern& pattern, const BackwardOperands& host, std::span<const ChunkPair> pairs) override {
    DeviceCopies copies;
    BackwardOperands device = host;
    for (ConstTensor* tensor : {&device.q, &device.d_o, &device.k, &device.v, &device.lse2, &device.delta}) *tensor = copies.input(*tensor);
    for (Tensor* tensor : {&device.dq, &device.dk, &device.dv}) *tensor = copies.result(*tensor);
    device.times = {copies.times(host.times.queries), copies.times(host.times.keys)};
    wait_for_uploads();
    attention_->backward(pattern, device, pairs);
    finish(copies);
  }

 private:
  static ForwardOperands copy(const ForwardOperands& host, DeviceCopies& copies) {
    ForwardOperands device = host;
    for (ConstTensor* tensor : {&device.q, &device.k, &device.v}) *tensor = copies.input(*tensor);
    for (Tensor* tensor : {&device.row_max, &device.row_sum, &device.o}) *tensor = copies.result(*tensor);
    device.times = {copies.times(host.times.queries), copies.times(host.times.keys)};
    return device;
  }
  /// A copy from ordinary host memory may return before it has arrived, and the kernels' stream does not wait for the default one.
  static void wait_for_uploads() { check(cudaDeviceSynchronize()); }
  void finish(DeviceCopies& copies) {
    stream_.wait();
    copies.copy_results_back();
  }

  Stream stream_;
  std::unique_ptr<BlockAttention> attention_;
};

}  // namespace

std::unique_ptr<BlockAttention> make_copying_cuda_attention(std::int64_t score_gradient_bytes) {
  return std::make_unique<CopyingCudaAttention>(score_gradient_bytes);
}

std::string missing_gpu() {
  try {
    use_cuda_device(0);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace hilbertring
