#include "drivers/stop_signal.h"

#include <csignal>

namespace hilbertring {

namespace {

volatile std::sig_atomic_t is_stop_asked = 0;

void note_signal(int) { is_stop_asked = 1; }

}  // namespace

StopSignal::StopSignal() {
  is_stop_asked = 0;
  std::signal(SIGTERM, note_signal);
  std::signal(SIGUSR1, note_signal);
}

StopSignal::~StopSignal() {
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGUSR1, SIG_DFL);
}

bool StopSignal::is_asked() const { return is_stop_asked != 0; }

}  // namespace hilbertring
