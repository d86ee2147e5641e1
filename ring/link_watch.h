#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "core/cuda/device.h"

namespace hilbertring {

/// Something that makes a GPU's streams wait for other ranks. Both calls from any thread.
class LinkPart {
 public:
  virtual ~LinkPart() = default;
  /// What went wrong, if it knows of anything.
  virtual std::optional<std::string> find_fault() = 0;
  /// Nothing on the streams waits any longer, whatever others do. Called again and again, since others may still be at work.
  virtual void stop_waiting() noexcept = 0;
};

/// A thread that looks after the messages of a rank's GPU: when a part has failed, or nothing has moved for too long, all parts stop waiting, and so
/// does whoever waits for the streams.
class LinkWatch {
 public:
  /// `gpu` is the calling thread's.
  LinkWatch(int rank, int gpu, std::chrono::seconds patience);
  LinkWatch(const LinkWatch&) = delete;
  LinkWatch& operator=(const LinkWatch&) = delete;
  ~LinkWatch() { stop(); }

  /// The parts must live until stop(). Before the first message.
  void start(std::vector<LinkPart*> parts);
  void stop();
  /// All that the stream was given waits for peers. Throws as check() does.
  void look_after(cudaStream_t stream);
  /// Throws Error(kFailure) with what went wrong.
  void check();
  /// From now on everything fails: for this reason, or because no message came in time.
  void fail(const std::string& why);
  void fail_of_silence();
  std::chrono::seconds patience() const { return patience_; }

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;

  void watch(const std::stop_token& stop);
  bool has_failed();
  void look_for_faults();
  void look_for_silence();
  void stop_parts() noexcept;

  int rank_;
  int gpu_;
  std::chrono::seconds patience_;
  std::vector<LinkPart*> parts_;  ///< called without the lock: they have locks of their own

  std::mutex mutex_;
  std::condition_variable_any wake_;
  // Guarded by mutex_.
  std::optional<std::string> failure_;
  std::deque<Event> under_way_;  ///< ends of groups, oldest first
  Clock::time_point last_arrival_ = Clock::now();
  std::jthread watcher_;
};

}  // namespace hilbertring
