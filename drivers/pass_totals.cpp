#include "drivers/pass_totals.h"

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "core/error.h"
#include "ring/agreement.h"

namespace hilbertring {

std::string_view name_of(Pass pass) { return pass == Pass::kForward ? "forward" : "backward"; }

PassTotals over_all_ranks(Transport& transport, const PassReport& report) {
  std::array<double, 2> times = {report.seconds, report.waiting_seconds};
  std::array<std::int64_t, 3> counts = {report.allowed_pairs, report.sent_bytes, report.predicted_bytes};
  transport.all_reduce(std::span<double>(times), Reduction::kMax);
  transport.all_reduce(std::span<std::int64_t>(counts), Reduction::kSum);
  return {times[0], times[1], counts[0], counts[1], counts[2]};
}

void require_predicted_bytes(Transport& transport, Pass pass, const PassReport& report) {
  agree(transport, [&] {
    if (report.sent_bytes == report.predicted_bytes) return;
    throw failure("the " + std::string(name_of(pass)) + " pass sent " + std::to_string(report.sent_bytes) + " bytes, but the schedule predicted " +
                  std::to_string(report.predicted_bytes));
  });
}

}  // namespace hilbertring
