#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "core/element_type.h"
#include "core/index.h"
#include "io/case_file.h"

namespace hilbertring {

/// Index of the first NaN or infinity among elements of `type`; nothing if all are finite. Tests bits only, at about the rate of memory.
std::optional<std::int64_t> first_nonfinite(ElementType type, std::span<const std::byte> elements);

/// Throws input_error naming file, tensor, value and [b, n, h, d] of the first NaN or infinity. `rows` is what `file.read(name, tokens, rows)` left;
/// not for lse, where -infinity is a value. Independent: where several ranks check, the caller has to agree on the outcome.
void check_finite(const CaseFile& file, TensorName name, Range<SequenceIndex> tokens, std::span<const std::byte> rows);

}  // namespace hilbertring
