#include "io/removed_on_signal.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <utility>

namespace hilbertring {

namespace {

constexpr std::array<int, 3> kSignals = {SIGHUP, SIGINT, SIGTERM};

/// A program writes few files at a time; one that finds no place here is left behind, as without this class.
using Paths = std::array<std::atomic<const char*>, 8>;
constinit Paths paths{};
static_assert(Paths::value_type::is_always_lock_free, "asked in a signal handler");

void remove_and_end(int signal) {
  RemovedOnSignal::remove_all();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

/// Puts `to` in the place of `from`, where that is what happens at the signal.
void exchange_handlers(void (*from)(int), void (*to)(int)) {
  for (const int signal : kSignals) {
    struct sigaction now {};
    if (sigaction(signal, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == from) std::signal(signal, to);
  }
}

}  // namespace

void RemovedOnSignal::remove_all() noexcept {
  for (const auto& path : paths) {
    const char* const name = path.load();
    if (name != nullptr) unlink(name);
  }
}

RemovedOnSignal::RemovedOnSignal(std::string path) : path_(std::move(path)) {
  for (auto& place : paths) {
    const char* nobody = nullptr;
    if (place.compare_exchange_strong(nobody, path_.c_str())) break;
  }
  exchange_handlers(SIG_DFL, remove_and_end);
}

RemovedOnSignal::~RemovedOnSignal() {
  bool is_last = true;
  for (auto& place : paths) {
    const char* mine = path_.c_str();
    if (!place.compare_exchange_strong(mine, nullptr) && mine != nullptr) is_last = false;
  }
  if (is_last) exchange_handlers(remove_and_end, SIG_DFL);
}

}  // namespace hilbertring
