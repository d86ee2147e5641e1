#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/element_type.h"
#include "core/shape.h"
#include "core/specification.h"
#include "ring/attention.h"

namespace hilbertring {

/// This rank's inputs: the slab of tokens `sequence_slab(N, P, rank)` (ring/redistribution.h) of each tensor, in sequence order, row-major, host
/// memory.
template <class T>
struct AttentionInputs {
  std::span<const T> q = {};          ///< [B, n_slab, H, D]
  std::span<const T> k = {}, v = {};  ///< [B, n_slab, G, D]
  std::span<const T> d_o = {};        ///< [B, n_slab, H, D]: upstream gradient; empty on every rank: forward pass only
};

/// Where this rank's results go: slabs as above. A tensor with an empty span is not handed out; a span must be empty on all ranks or on none.
template <class T>
struct AttentionOutputs {
  std::span<T> o = {};            ///< [B, n_slab, H, D]
  std::span<float> lse = {};      ///< [B, H, n_slab]: natural logarithm of the softmax denominator; -inf where no key is allowed
  std::span<T> dq = {};           ///< [B, n_slab, H, D]
  std::span<T> dk = {}, dv = {};  ///< [B, n_slab, G, D]
};

struct AttentionOptions {
  /// Threads and memory limit of this rank: they may differ between ranks.
  RingOptions ring;
  /// curve = file: sequence index of each position, N entries, the same on every rank.
  std::shared_ptr<const std::vector<std::int64_t>> file_order;
};

/// What the call did on this rank.
struct AttentionReport {
  PassReport forward;
  PassReport backward;  ///< all zero without a gradient
  std::int64_t peak_bytes = 0;
  std::int64_t predicted_peak_bytes = 0;
  std::string device;
};

/// Exact attention over all ranks of `communicator` in one call: o and lse, and with `inputs.d_o` also dq, dk and dv (SPEC: docs/LAWS.md, section
/// "The function").
///
/// T is float, double, Float16 or Bfloat16; arithmetic is in float (double for double), results are rounded once to T.
/// Worked example: N = 10, P = 4: rank 0 passes tokens 0-2, rank 1 tokens 3-5, rank 2 tokens 6-7, rank 3 tokens 8-9 of every tensor and gets the same
/// tokens of every result, whatever the curve; the results have the same bits for every P.
///
/// Collective over `communicator` (intra-communicator, MPI_Init called, MPI_THREAD_FUNNELED is enough): every rank calls it with the same
/// specification and shape. It uses a duplicate of the communicator; inputs are only read, and nothing is kept when it returns. Throws Error, on
/// every rank, with the text of the lowest rank that refused: kUsage (shape, specification, a span of the wrong size, more ranks than units, ranks
/// that disagree), kInput (file_order is no permutation), kFailure (memory, MPI). After an error outputs hold nothing of use.
template <class T>
AttentionReport attention(MPI_Comm communicator, const Specification& specification, const Shape& shape, const AttentionInputs<T>& inputs,
                          const AttentionOutputs<T>& outputs, const AttentionOptions& options = {});

}  // namespace hilbertring
