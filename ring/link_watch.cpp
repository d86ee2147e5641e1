#include "ring/link_watch.h"

#include <exception>
#include <utility>

#include "core/error.h"

namespace hilbertring {

namespace {

constexpr auto kWatchInterval = std::chrono::milliseconds(100);

}  // namespace

LinkWatch::LinkWatch(int rank, int gpu, std::chrono::seconds patience) : rank_(rank), gpu_(gpu), patience_(patience) {}

void LinkWatch::start(std::vector<LinkPart*> parts) {
  parts_ = std::move(parts);
  watcher_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

void LinkWatch::stop() {
  if (!watcher_.joinable()) return;
  watcher_.request_stop();
  wake_.notify_all();
  watcher_.join();
}

void LinkWatch::look_after(cudaStream_t stream) {
  check();
  Event is_through;
  is_through.record(stream);
  const Lock lock(mutex_);
  if (under_way_.empty()) last_arrival_ = Clock::now();
  under_way_.push_back(std::move(is_through));
}

void LinkWatch::check() {
  const Lock lock(mutex_);
  if (failure_) throw Error(ErrorKind::kFailure, "GPU link", *failure_, rank_);
}

bool LinkWatch::has_failed() {
  const Lock lock(mutex_);
  return failure_.has_value();
}

void LinkWatch::fail(const std::string& why) {
  {
    const Lock lock(mutex_);
    if (!failure_) failure_ = why;
  }
  stop_parts();
}

void LinkWatch::fail_of_silence() {
  fail("no message has come from another GPU for " + std::to_string(patience_.count()) + " s: a rank hangs or is gone");
}

void LinkWatch::stop_parts() noexcept {
  for (LinkPart* const part : parts_) part->stop_waiting();
}

void LinkWatch::watch(const std::stop_token& stop) {
  try {
    use_cuda_device(gpu_);
    while (!stop.stop_requested()) {
      {
        Lock lock(mutex_);
        wake_.wait_for(lock, stop, kWatchInterval, [] { return false; });
      }
      if (has_failed()) {
        stop_parts();
      } else if (!stop.stop_requested()) {
        look_for_faults();
        look_for_silence();
      }
    }
  } catch (const std::exception& exception) {
    fail(exception.what());
  }
}

void LinkWatch::look_for_faults() {
  for (LinkPart* const part : parts_) {
    if (const auto fault = part->find_fault()) return fail(*fault);
  }
}

void LinkWatch::look_for_silence() {
  {
    const Lock lock(mutex_);
    while (!under_way_.empty() && under_way_.front().is_reached()) {
      under_way_.pop_front();
      last_arrival_ = Clock::now();
    }
    if (under_way_.empty() || Clock::now() - last_arrival_ <= patience_) return;
  }
  fail_of_silence();
}

}  // namespace hilbertring
