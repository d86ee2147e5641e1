#include "drivers/progress_bar.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

namespace hilbertring {

namespace {
constexpr std::int64_t kWidth = 40;
constexpr auto kPause = std::chrono::milliseconds(100);
}  // namespace

ProgressBar::ProgressBar(std::string label, bool is_shown)
    : label_(std::move(label)), is_drawing_(is_shown && ::isatty(STDERR_FILENO) == 1), next_draw_(std::chrono::steady_clock::now() + kPause) {}

ProgressBar::~ProgressBar() { clear(); }

void ProgressBar::relabel(std::string label) {
  if (label == label_) return;
  clear();
  label_ = std::move(label);
}

void ProgressBar::clear() {
  if (has_drawn_) std::fputs("\r\033[K", stderr);
  has_drawn_ = false;
}

void ProgressBar::update(std::int64_t done, std::int64_t total) {
  const auto now = std::chrono::steady_clock::now();
  if (!is_drawing_ || total < 1 || now < next_draw_) return;
  next_draw_ = now + kPause;
  has_drawn_ = true;
  const std::int64_t filled = done * kWidth / total;
  const std::string bar = std::string(static_cast<std::size_t>(filled), '#') + std::string(static_cast<std::size_t>(kWidth - filled), '.');
  std::fprintf(stderr, "\r%s [%s] %3d %%", label_.c_str(), bar.c_str(), static_cast<int>(done * 100 / total));
  std::fflush(stderr);
}

}  // namespace hilbertring
