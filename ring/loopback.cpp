#include "ring/loopback.h"

#include <algorithm>
#include <compare>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "ring/reduction.h"

namespace hilbertring {

namespace {

struct Route {
  std::int64_t from = 0;
  std::int64_t to = 0;
  int tag = 0;

  friend auto operator<=>(const Route&, const Route&) = default;
};

enum class Progress { kAlone, kCopying, kComplete, kMismatched };

/// One message, shared by the two transfers that it joins. Guarded by the hub's mutex; the bytes themselves belong to whoever set kCopying.
struct Message {
  Route route;
  std::span<const std::byte> source;
  std::span<std::byte> target;
  Progress progress = Progress::kAlone;
};

/// What the ranks of one run_loopback share.
class LoopbackHub {
 public:
  explicit LoopbackHub(std::int64_t num_ranks) : wake_(static_cast<std::size_t>(num_ranks)), gathered_(static_cast<std::size_t>(num_ranks)) {}

  std::int64_t num_ranks() const { return static_cast<std::int64_t>(wake_.size()); }
  std::shared_ptr<Message> post_send(const Route& route, std::span<const std::byte> bytes);
  std::shared_ptr<Message> post_receive(const Route& route, std::span<std::byte> bytes);
  bool is_settled(const Message& message);
  void wait(const Message& message, std::int64_t rank);
  void drop(const std::shared_ptr<Message>& message, std::int64_t rank) noexcept;
  std::shared_ptr<const std::vector<std::string>> all_gather(std::int64_t rank, const std::string& text);
  void fail(std::int64_t rank, const std::string& why, std::exception_ptr exception);
  std::exception_ptr first_exception() const { return first_exception_; }

 private:
  using Lock = std::unique_lock<std::mutex>;

  // All messages of a queue wait for the same side: a second side takes the oldest of the first.
  struct Queue {
    bool holds_sends = false;
    std::deque<std::shared_ptr<Message>> messages;
  };

  std::shared_ptr<Message> take_or_queue(const Route& route, bool is_send, Message&& fresh, bool& has_partner);
  void copy(Message& message, Lock& lock);
  void notify(std::int64_t rank) { wake_[static_cast<std::size_t>(rank)].notify_all(); }
  void throw_if_failed() const;

  std::mutex mutex_;
  std::vector<std::condition_variable> wake_;  // one per rank: a message wakes only the two it concerns
  std::map<Route, Queue> alone_;
  std::vector<std::string> gathered_;
  std::int64_t num_arrived_ = 0;
  std::int64_t gather_generation_ = 0;
  std::shared_ptr<const std::vector<std::string>> gather_result_;
  std::exception_ptr first_exception_;
  std::string failure_text_;
};

std::shared_ptr<Message> LoopbackHub::take_or_queue(const Route& route, bool is_send, Message&& fresh, bool& has_partner) {
  Queue& queue = alone_[route];
  has_partner = !queue.messages.empty() && queue.holds_sends != is_send;
  if (!has_partner) {
    queue.holds_sends = is_send;
    return queue.messages.emplace_back(std::make_shared<Message>(std::move(fresh)));
  }
  std::shared_ptr<Message> message = std::move(queue.messages.front());
  queue.messages.pop_front();
  if (queue.messages.empty()) alone_.erase(route);
  return message;
}

std::shared_ptr<Message> LoopbackHub::post_send(const Route& route, std::span<const std::byte> bytes) {
  Lock lock(mutex_);
  bool has_partner = false;
  auto message = take_or_queue(route, true, Message{.route = route, .source = bytes, .target = {}}, has_partner);
  message->source = bytes;
  if (has_partner) copy(*message, lock);
  return message;
}

std::shared_ptr<Message> LoopbackHub::post_receive(const Route& route, std::span<std::byte> bytes) {
  Lock lock(mutex_);
  bool has_partner = false;
  auto message = take_or_queue(route, false, Message{.route = route, .source = {}, .target = bytes}, has_partner);
  message->target = bytes;
  if (has_partner) copy(*message, lock);
  return message;
}

void LoopbackHub::copy(Message& message, Lock& lock) {
  if (message.source.size() != message.target.size()) {
    message.progress = Progress::kMismatched;
  } else {
    message.progress = Progress::kCopying;
    lock.unlock();  // other messages go on while this one is copied
    if (!message.source.empty()) std::memcpy(message.target.data(), message.source.data(), message.source.size());
    lock.lock();
    message.progress = Progress::kComplete;
  }
  notify(message.route.from);
  notify(message.route.to);
}

void LoopbackHub::throw_if_failed() const {
  if (first_exception_) throw failure(failure_text_);
}

bool LoopbackHub::is_settled(const Message& message) {
  const Lock lock(mutex_);
  return message.progress == Progress::kComplete || message.progress == Progress::kMismatched || first_exception_;
}

void LoopbackHub::wait(const Message& message, std::int64_t rank) {
  Lock lock(mutex_);
  wake_[static_cast<std::size_t>(rank)].wait(lock, [&] {
    if (message.progress == Progress::kAlone) return first_exception_ != nullptr;
    return message.progress != Progress::kCopying;
  });
  if (message.progress == Progress::kAlone) throw_if_failed();
  if (message.progress == Progress::kMismatched) {
    throw failure("message from rank " + std::to_string(message.route.from) + " to rank " + std::to_string(message.route.to) + ", tag " +
                  std::to_string(message.route.tag) + ": " + std::to_string(message.source.size()) + " bytes were sent, " +
                  std::to_string(message.target.size()) + " were to be received; lengths must match");
  }
}

// Waits out a copy that another rank is making, for the bytes are about to go away; that takes no longer than the memcpy.
void LoopbackHub::drop(const std::shared_ptr<Message>& message, std::int64_t rank) noexcept {
  Lock lock(mutex_);
  wake_[static_cast<std::size_t>(rank)].wait(lock, [&] { return message->progress != Progress::kCopying; });
  if (message->progress != Progress::kAlone) return;
  const auto found = alone_.find(message->route);
  if (found == alone_.end()) return;
  std::erase(found->second.messages, message);
  if (found->second.messages.empty()) alone_.erase(found);
}

std::shared_ptr<const std::vector<std::string>> LoopbackHub::all_gather(std::int64_t rank, const std::string& text) {
  Lock lock(mutex_);
  throw_if_failed();
  gathered_[static_cast<std::size_t>(rank)] = text;
  const std::int64_t generation = gather_generation_;
  if (++num_arrived_ == num_ranks()) {
    gather_result_ = std::make_shared<const std::vector<std::string>>(gathered_);
    num_arrived_ = 0;
    ++gather_generation_;
    for (auto& wake : wake_) wake.notify_all();
    return gather_result_;
  }
  wake_[static_cast<std::size_t>(rank)].wait(lock, [&] { return gather_generation_ != generation || first_exception_; });
  if (gather_generation_ == generation) throw_if_failed();
  return gather_result_;  // the next gather can't end before this rank joins it
}

void LoopbackHub::fail(std::int64_t rank, const std::string& why, std::exception_ptr exception) {
  const Lock lock(mutex_);
  if (first_exception_) return;
  first_exception_ = std::move(exception);
  failure_text_ = "rank " + std::to_string(rank) + " failed: " + why;
  for (auto& wake : wake_) wake.notify_all();
}

class LoopbackTransfer final : public PendingTransfer {
 public:
  LoopbackTransfer(LoopbackHub& hub, std::shared_ptr<Message> message, std::int64_t rank) : hub_(&hub), message_(std::move(message)), rank_(rank) {}
  LoopbackTransfer(const LoopbackTransfer&) = delete;
  LoopbackTransfer& operator=(const LoopbackTransfer&) = delete;
  ~LoopbackTransfer() override {
    if (message_) hub_->drop(message_, rank_);
  }

  bool is_complete() override { return !message_ || hub_->is_settled(*message_); }
  void wait() override {
    if (!message_) return;
    hub_->wait(*message_, rank_);
    message_.reset();
  }

 private:
  LoopbackHub* hub_;
  std::shared_ptr<Message> message_;
  std::int64_t rank_;
};

class LoopbackTransport final : public Transport {
 public:
  LoopbackTransport(LoopbackHub& hub, std::int64_t rank) : hub_(&hub), rank_(rank) {}

  std::string name() const override { return "loopback"; }
  Rank rank() const override { return Rank(rank_); }
  std::int64_t num_ranks() const override { return hub_->num_ranks(); }
  Transfer send(std::span<const std::byte> bytes, Rank to, int tag) override {
    require_rank(to);
    if (to.value != rank_) sent_bytes_ += static_cast<std::int64_t>(bytes.size());
    return std::make_unique<LoopbackTransfer>(*hub_, hub_->post_send({rank_, to.value, tag}, bytes), rank_);
  }
  Transfer receive(std::span<std::byte> bytes, Rank from, int tag) override {
    require_rank(from);
    return std::make_unique<LoopbackTransfer>(*hub_, hub_->post_receive({from.value, rank_, tag}, bytes), rank_);
  }
  void progress() override {}

  void barrier() override { hub_->all_gather(rank_, ""); }
  void all_reduce(std::span<std::int64_t> values, Reduction reduction) override { reduce(values, reduction); }
  void all_reduce(std::span<double> values, Reduction reduction) override { reduce(values, reduction); }
  std::vector<std::string> all_gather(const std::string& text) override { return *hub_->all_gather(rank_, text); }
  std::int64_t sent_bytes() const override { return sent_bytes_; }

 private:
  void require_rank(Rank peer) const {
    if (peer.value < 0 || peer.value >= num_ranks()) {
      throw failure("rank " + std::to_string(peer.value) + " is not one of the " + std::to_string(num_ranks()) + " ranks");
    }
  }

  template <class T>
  void reduce(std::span<T> values, Reduction reduction) {
    const auto texts = hub_->all_gather(rank_, std::string(reinterpret_cast<const char*>(values.data()), values.size_bytes()));
    std::vector<T> contribution(values.size());
    for (std::size_t r = 0; r < texts->size(); ++r) {
      if ((*texts)[r].size() != values.size_bytes()) {
        throw failure("all_reduce: rank " + std::to_string(r) + " gave " + std::to_string((*texts)[r].size() / sizeof(T)) + " values, rank " +
                      std::to_string(rank_) + " gave " + std::to_string(values.size()) + "; counts must match");
      }
      if (values.empty()) continue;
      std::memcpy(contribution.data(), (*texts)[r].data(), values.size_bytes());
      if (r == 0) {
        std::copy(contribution.begin(), contribution.end(), values.begin());
      } else {
        fold_reduction<T>(values, contribution, reduction);
      }
    }
  }

  LoopbackHub* hub_;
  std::int64_t rank_;
  std::int64_t sent_bytes_ = 0;
};

void run_rank(LoopbackHub& hub, std::int64_t rank, const std::function<void(Transport&)>& body) noexcept {
  try {
    LoopbackTransport transport(hub, rank);
    body(transport);
  } catch (const std::exception& exception) {
    hub.fail(rank, exception.what(), std::current_exception());
  } catch (...) {
    hub.fail(rank, "unknown exception", std::current_exception());
  }
}

}  // namespace

void run_loopback(std::int64_t num_ranks, const std::function<void(Transport&)>& body) {
  if (num_ranks < 1) throw usage_error("number of ranks is " + std::to_string(num_ranks) + "; it must be at least 1");
  LoopbackHub hub(num_ranks);
  {
    std::vector<std::jthread> threads;
    threads.reserve(static_cast<std::size_t>(num_ranks));
    for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
      try {
        threads.emplace_back([&hub, &body, rank] { run_rank(hub, rank, body); });
      } catch (const std::exception& exception) {
        hub.fail(rank, "its thread can't be started: " + std::string(exception.what()),
                 std::make_exception_ptr(failure("not enough memory: " + std::to_string(num_ranks) + " ranks can't be started as threads")));
        break;
      }
    }
  }
  if (hub.first_exception()) std::rethrow_exception(hub.first_exception());
}

}  // namespace hilbertring
