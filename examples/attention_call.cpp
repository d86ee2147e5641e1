// Attention over all MPI ranks by one call. Run it: mpirun -np 2 ./attention_call 1024        (what is printed has the same bits for any number of
// ranks)
#include <mpi.h>

#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "ring/hilbertring.h"
#include "ring/redistribution.h"

namespace hr = hilbertring;

// This rank's slab of a random tensor [1, tokens, heads, head_dim]: tokens in sequence order, here by a counter, so that any rank makes any part.
std::vector<float> make_slab(hr::TensorId tensor, hr::Range<hr::SequenceIndex> tokens, std::int64_t row_elements) {
  std::vector<float> slab(static_cast<std::size_t>(tokens.size() * row_elements));
  const std::int64_t first = tokens.begin.value * row_elements;
  for (std::size_t i = 0; i < slab.size(); ++i) slab[i] = static_cast<float>(hr::normal_at(1, tensor, first + static_cast<std::int64_t>(i)));
  return slab;
}

void run(std::int64_t num_tokens, int rank, int num_ranks) {
  const hr::Shape shape{.batch = 1, .tokens = num_tokens, .heads = 8, .kv_heads = 2, .head_dim = 64};
  hr::Specification specification;  // LongNet: segments of 256 tokens in full, segments of 1024 with every fourth token; Hilbert order by default
  specification.segment_lengths = {256, 1024};
  specification.dilation_rates = {1, 4};
  specification.chunk = 128;

  const auto tokens = hr::sequence_slab(shape.tokens, num_ranks, hr::Rank(rank));
  const auto q = make_slab(hr::TensorId::kQ, tokens, shape.heads * shape.head_dim);
  const auto k = make_slab(hr::TensorId::kK, tokens, shape.kv_heads * shape.head_dim);
  const auto v = make_slab(hr::TensorId::kV, tokens, shape.kv_heads * shape.head_dim);
  std::vector<float> o(q.size());
  const auto report = hr::attention<float>(MPI_COMM_WORLD, specification, shape, {.q = q, .k = k, .v = v}, {.o = o});

  if (rank == 0)
    std::cout << "o[0, 0, 0, 0] = " << std::setprecision(9) << o[0] << ", " << report.forward.sent_bytes << " bytes sent, " << report.device << '\n';
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, num_ranks = 1, status = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &num_ranks);
  try {
    run(argc > 1 ? std::atoll(argv[1]) : 1024, rank, num_ranks);
  } catch (const hr::Error& error) {  // every rank gets the same error
    if (rank == 0) std::cerr << "attention_call: " << error.what() << '\n';
    status = static_cast<int>(error.kind());
  }
  MPI_Finalize();
  return status;
}
