#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/block_attention.h"

namespace hilbertring {

/// Kernels for host memory: SIMD chosen at run time (Highway), OpenMP threads. The same bits for every instruction set and number of threads.
/// `num_threads` >= 1.
std::unique_ptr<BlockAttention> make_cpu_attention(int num_threads);

/// Instruction sets that this machine can run, best first, and a way to insist on one (for tests; "" lifts it). Not while kernels run.
std::vector<std::string> cpu_instruction_sets();
void force_cpu_instruction_set(const std::string& name);
/// The one that kernels run on now.
std::string cpu_instruction_set();

/// Working memory of one thread of the kernels, for the memory prediction.
std::int64_t cpu_scratch_bytes_per_thread(std::int64_t head_dim, ElementType type);

}  // namespace hilbertring
