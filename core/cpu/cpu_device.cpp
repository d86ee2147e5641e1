#include "core/cpu/cpu_device.h"

#include <bit>
#include <chrono>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/cpu/cpu_attention.h"

namespace hilbertring {

namespace {

template <class T>
void store(T* dst, double value) {
  if constexpr (std::is_same_v<T, Float16>) {
    *dst = to_float16(value);
  } else if constexpr (std::is_same_v<T, Bfloat16>) {
    *dst = to_bfloat16(value);
  } else {
    *dst = static_cast<T>(value);
  }
}

std::int64_t num_elements(const ConstTensor& tensor) { return tensor.size_bytes() / size_bytes(tensor.type); }

/// Everything is done when the call returns: every mark is reached.
class CpuMark final : public WorkMark {
 public:
  void set(WorkQueue) override {}
  void hold(WorkQueue) override {}
  bool is_reached() override { return true; }
  void wait() override {}
};

/// Its queues are always empty: what is between begin() and end() on the host's thread.
class CpuQueueClock final : public QueueClock {
 public:
  void begin() override { begin_ = Clock::now(); }
  void end() override { seconds_ += std::chrono::duration<double>(Clock::now() - begin_).count(); }
  double seconds() override { return seconds_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_;
  double seconds_ = 0;
};

class CpuDevice final : public ComputeDevice {
 public:
  explicit CpuDevice(int num_threads) : num_threads_(num_threads), attention_(make_cpu_attention(num_threads)) {}

  std::string description() const override { return attention_->description(); }
  bool is_host() const override { return true; }
  int num_host_threads() const override { return num_threads_; }
  BlockAttention& attention() override { return *attention_; }
  ElementType weights_type(ElementType input_type) const override { return arithmetic_type(input_type); }

  Buffer allocate(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter) override { return {num_bytes, std::move(meter)}; }
  Buffer allocate_shared(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter) override { return {num_bytes, std::move(meter)}; }

  void fill(const Tensor& tensor, double value) override {
    const std::int64_t size = num_elements(tensor);
    visit_element_type(tensor.type, [&]<class T>(T) {
      T element;
      store(&element, value);
      std::fill_n(reinterpret_cast<T*>(tensor.data), size, element);
    });
  }

  void fill_random(const Tensor& tensor, const RandomRows& random) override {
    visit_element_type(tensor.type, [&]<class T>(T) {
#pragma omp parallel for collapse(3) num_threads(num_threads_)
      for (std::int64_t b = 0; b < tensor.batch; ++b) {
        for (std::int64_t h = 0; h < tensor.heads; ++h) {
          for (std::int64_t i = 0; i < tensor.rows; ++i) {
            auto* const row = reinterpret_cast<T*>(tensor.row(b, h, LocalRow(i)));
            const std::int64_t token = b * random.num_tokens + random.tokens[static_cast<std::size_t>(i)];
            const std::int64_t first = (token * tensor.heads + h) * tensor.columns;
            for (std::int64_t c = 0; c < tensor.columns; ++c) store(row + c, normal_at(random.seed, random.id, first + c));
          }
        }
      }
    });
  }

  void convert(const ConstTensor& src, const Tensor& dst, double factor) override {
    const std::int64_t size = num_elements(src);
    visit_element_type(src.type, [&]<class From>(From) {
      visit_element_type(dst.type, [&]<class To>(To) {
        if constexpr (std::is_floating_point_v<From>) {
          const auto* from = reinterpret_cast<const From*>(src.data);
          auto* to = reinterpret_cast<To*>(dst.data);
#pragma omp parallel for num_threads(num_threads_)
          for (std::int64_t i = 0; i < size; ++i) store(to + i, factor * static_cast<double>(from[i]));
        }
      });
    });
  }

  void copy_in(std::byte* device, const std::byte* host, std::int64_t num_bytes) override { copy_out(device, host, num_bytes); }
  void copy_out(std::byte* host, const std::byte* device, std::int64_t num_bytes) override {
    if (num_bytes > 0) std::memcpy(host, device, static_cast<std::size_t>(num_bytes));
  }

  void copy_listed_rows(RowCopy direction, std::byte* device, const ListedRows& rows, std::byte* host) override {
    const auto row_bytes = static_cast<std::size_t>(rows.row_bytes);
    for (const RowOffsets& offset : rows.offsets) {
      for (std::int64_t h = 0; h < rows.heads; ++h) {
        std::byte* const on_device = device + offset.on_device + h * rows.device_head_stride;
        std::byte* const on_host = host + offset.on_host + h * rows.host_head_stride;
        direction == RowCopy::kPack ? std::memcpy(on_host, on_device, row_bytes) : std::memcpy(on_device, on_host, row_bytes);
      }
    }
  }

  void copy_rows(RowCopy direction, const Tensor& tensor, const RowTable& table, std::byte* message) override {
    const std::int64_t num_words = ceil_div(tensor.rows, 64);
    const auto row_bytes = static_cast<std::size_t>(tensor.row_bytes());
#pragma omp parallel for collapse(2) num_threads(num_threads_)
    for (std::int64_t b = 0; b < tensor.batch; ++b) {
      for (std::int64_t h = 0; h < tensor.heads; ++h) {
        const HeadRows head = table.heads[h];
        std::byte* packed = message + (b * table.num_rows + head.num_before) * tensor.row_bytes();
        for (std::int64_t w = 0; w < num_words; ++w) {
          for (std::uint64_t bits = table.words[head.first_word + w].bits; bits != 0;) {
            const int first = std::countr_zero(bits);
            const int count = std::countr_one(bits >> first);
            std::byte* const rows = tensor.row(b, h, LocalRow(w * 64 + first));
            const std::size_t num_bytes = static_cast<std::size_t>(count) * row_bytes;
            direction == RowCopy::kPack ? std::memcpy(packed, rows, num_bytes) : std::memcpy(rows, packed, num_bytes);
            packed += num_bytes;
            bits = first + count == 64 ? 0 : bits >> (first + count) << (first + count);
          }
        }
      }
    }
  }

  std::unique_ptr<WorkMark> make_mark() override { return std::make_unique<CpuMark>(); }
  std::unique_ptr<QueueClock> make_queue_clock() override { return std::make_unique<CpuQueueClock>(); }
  void wait() override {}

 private:
  int num_threads_;
  std::unique_ptr<BlockAttention> attention_;
};

}  // namespace

std::unique_ptr<ComputeDevice> make_cpu_device(int num_threads) { return std::make_unique<CpuDevice>(num_threads); }

}  // namespace hilbertring
