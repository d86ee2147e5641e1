#pragma once

#include <string>

#include "core/specification.h"
#include "drivers/text_table.h"
#include "io/case_file.h"
#include "ring/schedule.h"

namespace hilbertring {

/// "w=2048 r=1, w=8192 r=4; all heads in all branches; ..." in words for people.
std::string describe_branches(const Specification& specification);
/// "hilbert over 65,536 tokens on a 256 x 256 grid, for q, k and v"
std::string describe_order(const Specification& specification, std::int64_t num_tokens);
/// "16 units of one chunk of 512 tokens, contiguous"
std::string describe_chunks(const Specification& specification, const Shape& shape);

/// Adds what the specification says: pattern, order, scale, chunks.
void add_specification_rows(TextTable& table, const Specification& specification, const Shape& shape);
/// Adds what the schedule will send: "forward  keys and values go up: 12.3 MiB, of 24.0 MiB that a dense ring would send".
void add_traffic_rows(TextTable& table, const Schedule& schedule);

/// The case's orders; reads /order if the specification asks for it (which may be an override of the case's own). Collective over the file's
/// communicator.
Orders orders_of_case(CaseFile& file, const Specification& specification);

}  // namespace hilbertring
