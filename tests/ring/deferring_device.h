#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/cpu/cpu_device.h"

namespace hilbertring::testing {

/// The host's processors, which put copies off as long as they may, as a GPU might: until somebody waits for a mark behind them. A piece or a message
/// that is used again too early then shows.
class DeferringDevice final : public ComputeDevice {
 public:
  std::string description() const override { return "deferring"; }
  bool is_host() const override { return false; }
  int num_host_threads() const override { return 1; }
  BlockAttention& attention() override { return host_->attention(); }
  ElementType weights_type(ElementType input_type) const override { return host_->weights_type(input_type); }
  Buffer allocate(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter) override { return host_->allocate(num_bytes, std::move(meter)); }
  Buffer allocate_shared(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter) override {
    return host_->allocate_shared(num_bytes, std::move(meter));
  }
  void fill(const Tensor& tensor, double value) override { host_->fill(tensor, value); }
  void fill_random(const Tensor& tensor, const RandomRows& rows) override { host_->fill_random(tensor, rows); }
  void convert(const ConstTensor& src, const Tensor& dst, double factor) override { host_->convert(src, dst, factor); }
  void copy_in(std::byte* device, const std::byte* host, std::int64_t num_bytes) override { host_->copy_in(device, host, num_bytes); }
  void copy_out(std::byte* host, const std::byte* device, std::int64_t num_bytes) override { host_->copy_out(host, device, num_bytes); }
  void copy_rows(RowCopy direction, const Tensor& tensor, const RowTable& table, std::byte* message) override {
    host_->copy_rows(direction, tensor, table, message);
  }
  void copy_listed_rows(RowCopy direction, std::byte* device, const ListedRows& rows, std::byte* host) override {
    work_.emplace_back([this, direction, device, rows, host] { host_->copy_listed_rows(direction, device, rows, host); });
    ++num_handed_in_;
  }

  std::unique_ptr<WorkMark> make_mark() override { return std::make_unique<Mark>(*this); }
  std::unique_ptr<QueueClock> make_queue_clock() override { return host_->make_queue_clock(); }
  void wait() override { work_until(num_handed_in_); }

  /// Copies that have been put off so far.
  std::size_t num_waiting() const { return work_.size(); }

 private:
  class Mark final : public WorkMark {
   public:
    explicit Mark(DeferringDevice& device) : device_(device) {}
    void set(WorkQueue) override { behind_ = device_.num_handed_in_; }
    void hold(WorkQueue) override {}
    bool is_reached() override { return device_.num_done_ >= behind_; }
    void wait() override { device_.work_until(behind_); }

   private:
    DeferringDevice& device_;
    std::int64_t behind_ = 0;
  };

  void work_until(std::int64_t count) {
    while (num_done_ < count) {
      work_.front()();
      work_.pop_front();
      ++num_done_;
    }
  }

  std::unique_ptr<ComputeDevice> host_ = make_cpu_device(1);
  std::deque<std::function<void()>> work_;
  std::int64_t num_handed_in_ = 0, num_done_ = 0;
};

}  // namespace hilbertring::testing
