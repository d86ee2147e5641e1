// The choice of an instruction set; the kernels themselves are in cpu_products.cpp and cpu_rows.cpp.
#include "core/cpu/cpu_kernels.h"

#include <string>
#include <vector>

#include "core/cpu/cpu_attention.h"
#include "core/cpu/cpu_targets.h"
#include "core/error.h"
#include "core/specification.h"

// After cpu_targets.h, which configures it.
#include <hwy/highway.h>

namespace hilbertring {

namespace {

/// Compiled in and supported by this machine; lower bits are better targets. Asked once, before anybody insists on a target, which changes the
/// answer.
std::int64_t usable_targets() {
  static const std::int64_t targets = (hwy::SupportedTargets() | HWY_STATIC_TARGET) & HWY_TARGETS;
  return targets;
}

void use_targets(std::int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(targets);
}

}  // namespace

std::vector<std::string> cpu_instruction_sets() {
  std::vector<std::string> names;
  for (std::int64_t rest = usable_targets(); rest != 0; rest &= rest - 1) names.emplace_back(hwy::TargetName(rest & -rest));
  return names;
}

std::string cpu_instruction_set() {
  usable_targets();
  const std::int64_t usable_now = hwy::SupportedTargets() & HWY_TARGETS;
  // Without a better one it is the static target, which need not be listed.
  return hwy::TargetName(usable_now != 0 ? usable_now & -usable_now : HWY_STATIC_TARGET);
}

void force_cpu_instruction_set(const std::string& name) {
  if (name.empty()) {
    use_targets(usable_targets());
    return;
  }
  for (std::int64_t rest = usable_targets(); rest != 0; rest &= rest - 1) {
    if (hwy::TargetName(rest & -rest) != name) continue;
    use_targets(rest & -rest);
    return;
  }
  throw usage_error("unknown instruction set '" + name + "'; did you mean '" + nearest_name(name, cpu_instruction_sets()) + "'?");
}

}  // namespace hilbertring
