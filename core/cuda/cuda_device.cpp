#include "core/cuda/cuda_device.h"

#include <cstddef>
#include <utility>
#include <vector>

#include "core/cuda/cuda_attention.h"
#include "core/cuda/device.h"
#include "core/cuda/kernels.h"
#include "core/error.h"

namespace hilbertring {

namespace {

/// The stream of each queue.
struct Queues {
  Stream compute;
  // Messages are small beside attention, and others wait for them.
  Stream transfer{Stream::Priority::kHigh};

  cudaStream_t stream(WorkQueue queue) const { return queue == WorkQueue::kCompute ? compute.get() : transfer.get(); }
};

class CudaMark final : public WorkMark {
 public:
  explicit CudaMark(const Queues& queues) : queues_(queues) {}

  void set(WorkQueue queue) override { event_.record(queues_.stream(queue)); }
  void hold(WorkQueue queue) override { event_.hold(queues_.stream(queue)); }
  bool is_reached() override { return event_.is_reached(); }
  void wait() override { event_.wait(); }

 private:
  const Queues& queues_;
  Event event_;
};

class CudaQueueClock final : public QueueClock {
 public:
  explicit CudaQueueClock(const Queues& queues) : queues_(queues) {}

  void begin() override { record(); }
  void end() override { record(); }
  double seconds() override {
    double milliseconds = 0;
    for (std::size_t i = 0; i + 1 < events_.size(); i += 2) milliseconds += events_[i + 1].milliseconds_since(events_[i]);
    return milliseconds * 1e-3;
  }

 private:
  void record() {
    events_.emplace_back(Event::Kind::kTimed);
    events_.back().record(queues_.compute.get());
  }

  const Queues& queues_;
  std::vector<Event> events_;  ///< begin and end in turn
};

class CudaDevice final : public ComputeDevice {
 public:
  CudaDevice(int num_host_threads, std::shared_ptr<MemoryMeter> scratch)
      : num_host_threads_(num_host_threads), attention_(make_cuda_attention(queues_.compute.get(), std::move(scratch))) {}
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;
  // Work that is under way reads memory that is about to go. Its errors have been thrown by whoever waited, or nobody asks any more.
  ~CudaDevice() override {
    static_cast<void>(cudaStreamSynchronize(queues_.compute.get()));
    static_cast<void>(cudaStreamSynchronize(queues_.transfer.get()));
  }

  std::string description() const override { return cuda_device_description(); }
  bool is_host() const override { return false; }
  int num_host_threads() const override { return num_host_threads_; }
  BlockAttention& attention() override { return *attention_; }
  // Tensor cores take float16 and bfloat16; other types go through plain arithmetic.
  ElementType weights_type(ElementType input_type) const override { return input_type; }

  Buffer allocate(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter) override {
    try {
      return make_device_buffer(num_bytes, meter);
    } catch (const Error&) {
      if (!attention_->give_back_memory()) throw;
    }
    return make_device_buffer(num_bytes, std::move(meter));
  }
  Buffer allocate_shared(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter) override {
    return make_pinned_buffer(num_bytes, std::move(meter));
  }

  void fill(const Tensor& tensor, double value) override { launch_fill(tensor, value, queues_.compute.get()); }
  void fill_random(const Tensor& tensor, const RandomRows& rows) override { launch_fill_random(tensor, rows, queues_.compute.get()); }
  void convert(const ConstTensor& src, const Tensor& dst, double factor) override { launch_convert(src, dst, factor, queues_.compute.get()); }
  void copy_in(std::byte* device, const std::byte* host, std::int64_t num_bytes) override { copy(device, host, num_bytes, cudaMemcpyHostToDevice); }
  void copy_out(std::byte* host, const std::byte* device, std::int64_t num_bytes) override { copy(host, device, num_bytes, cudaMemcpyDeviceToHost); }
  void copy_listed_rows(RowCopy direction, std::byte* device, const ListedRows& rows, std::byte* host) override {
    launch_copy_listed_rows(direction, device, rows, host, queues_.compute.get());
  }
  void copy_rows(RowCopy direction, const Tensor& tensor, const RowTable& table, std::byte* message) override {
    launch_copy_rows(direction, tensor, table, message, queues_.transfer.get());
  }

  std::unique_ptr<WorkMark> make_mark() override { return std::make_unique<CudaMark>(queues_); }
  std::unique_ptr<QueueClock> make_queue_clock() override { return std::make_unique<CudaQueueClock>(queues_); }
  cudaStream_t stream(WorkQueue queue) const { return queues_.stream(queue); }
  void wait() override {
    queues_.compute.wait();
    queues_.transfer.wait();
  }

 private:
  void copy(std::byte* to, const std::byte* from, std::int64_t num_bytes, cudaMemcpyKind kind) {
    check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(num_bytes), kind, queues_.compute.get()));
  }

  int num_host_threads_;
  Queues queues_;
  std::unique_ptr<BlockAttention> attention_;
};

}  // namespace

std::unique_ptr<ComputeDevice> make_cuda_device(int index, int num_host_threads, std::shared_ptr<MemoryMeter> scratch) {
  use_cuda_device(index);
  return std::make_unique<CudaDevice>(num_host_threads, std::move(scratch));
}

cudaStream_t stream_of(ComputeDevice& device, WorkQueue queue) { return dynamic_cast<CudaDevice&>(device).stream(queue); }

}  // namespace hilbertring
