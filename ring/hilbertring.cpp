#include "ring/hilbertring.h"

#include <concepts>
#include <string_view>

#include "core/error.h"
#include "ring/agreement.h"
#include "ring/mpi_transport.h"
#include "ring/redistribution.h"

namespace hilbertring {
namespace {

template <class T>
constexpr ElementType element_type_of() {
  if constexpr (std::same_as<T, Float16>) return ElementType::kFloat16;
  if constexpr (std::same_as<T, Bfloat16>) return ElementType::kBfloat16;
  if constexpr (std::same_as<T, float>) return ElementType::kFloat32;
  if constexpr (std::same_as<T, double>) return ElementType::kFloat64;
}

/// Elements of a tensor of this rank's slab.
std::int64_t num_slab_elements(const Shape& shape, std::int64_t heads, std::int64_t columns, const Transport& transport) {
  return shape.batch * sequence_slab(shape.tokens, transport.num_ranks(), transport.rank()).size() * heads * columns;
}

template <class T>
void require_size(std::string_view name, std::span<T> span, std::int64_t expected) {
  if (static_cast<std::int64_t>(span.size()) == expected) return;
  throw usage_error("attention: " + std::string(name) + " has " + std::to_string(span.size()) + " elements; this rank's slab has " +
                    std::to_string(expected));
}

template <class T>
void require_size_or_empty(std::string_view name, std::span<T> span, std::int64_t expected) {
  if (!span.empty()) require_size(name, span, expected);
}

template <class T>
void require_sizes(const Shape& shape, const AttentionInputs<T>& inputs, const AttentionOutputs<T>& outputs, const Transport& transport) {
  const std::int64_t num_query = num_slab_elements(shape, shape.heads, shape.head_dim, transport);
  const std::int64_t num_key = num_slab_elements(shape, shape.kv_heads, shape.head_dim, transport);
  require_size("q", inputs.q, num_query);
  require_size("k", inputs.k, num_key);
  require_size("v", inputs.v, num_key);
  require_size_or_empty("d_o", inputs.d_o, num_query);
  require_size_or_empty("o", outputs.o, num_query);
  require_size_or_empty("lse", outputs.lse, num_slab_elements(shape, shape.heads, 1, transport));
  require_size_or_empty("dq", outputs.dq, num_query);
  require_size_or_empty("dk", outputs.dk, num_key);
  require_size_or_empty("dv", outputs.dv, num_key);
  const bool wants_gradient = !outputs.dq.empty() || !outputs.dk.empty() || !outputs.dv.empty();
  if (wants_gradient && inputs.d_o.empty()) throw usage_error("attention: dq, dk and dv need d_o, which is empty");
}

/// Everything on which the ranks must agree, as text.
template <class T>
std::string describe_call(const Problem& problem, const AttentionOutputs<T>& outputs) {
  std::string text = to_string(problem.shape) + " " + std::string(to_string(problem.type)) + " " + to_json(problem.specification);
  text += problem.with_gradient ? ", with d_o" : ", without d_o";
  text += ", wants:";
  for (const auto& [name, is_empty] : {std::pair{" o", outputs.o.empty()},
                                       {" lse", outputs.lse.empty()},
                                       {" dq", outputs.dq.empty()},
                                       {" dk", outputs.dk.empty()},
                                       {" dv", outputs.dv.empty()}}) {
    if (!is_empty) text += name;
  }
  return text;
}

void require_same_on_all_ranks(Transport& transport, const std::string& call) {
  const std::vector<std::string> calls = transport.all_gather(call);
  for (std::size_t rank = 1; rank < calls.size(); ++rank) {
    if (calls[rank] == calls[0]) continue;
    throw usage_error("attention: ranks disagree: rank 0 has " + calls[0] + "; rank " + std::to_string(rank) + " has " + calls[rank]);
  }
}

template <class T>
void store(RingAttention& ring, ShardTensor tensor, std::span<T> slab) {
  if (!slab.empty()) ring.store(tensor, element_type_of<T>(), std::as_writable_bytes(slab));
}

template <class T>
PassReport forward(RingAttention& ring, const AttentionInputs<T>& inputs, const AttentionOutputs<T>& outputs) {
  ring.load(ShardTensor::kQ, std::as_bytes(inputs.q));
  ring.load(ShardTensor::kK, std::as_bytes(inputs.k));
  ring.load(ShardTensor::kV, std::as_bytes(inputs.v));
  if (!inputs.d_o.empty()) ring.load(ShardTensor::kDo, std::as_bytes(inputs.d_o));
  const PassReport report = ring.forward();
  store(ring, ShardTensor::kO, outputs.o);
  store(ring, ShardTensor::kLse, outputs.lse);
  return report;
}

template <class T>
PassReport backward(RingAttention& ring, const AttentionOutputs<T>& outputs) {
  const PassReport report = ring.backward();
  store(ring, ShardTensor::kDq, outputs.dq);
  store(ring, ShardTensor::kDk, outputs.dk);
  store(ring, ShardTensor::kDv, outputs.dv);
  return report;
}

}  // namespace

template <class T>
AttentionReport attention(MPI_Comm communicator, const Specification& specification, const Shape& shape, const AttentionInputs<T>& inputs,
                          const AttentionOutputs<T>& outputs, const AttentionOptions& options) {
  const std::unique_ptr<Transport> transport = make_mpi_transport(communicator);
  const Problem problem{.shape = shape, .type = element_type_of<T>(), .specification = specification, .with_gradient = !inputs.d_o.empty()};
  std::shared_ptr<const Schedule> schedule;
  require_same_on_all_ranks(*transport, describe_call(problem, outputs));
  agree(*transport, [&] {
    problem.validate(transport->num_ranks());
    require_sizes(shape, inputs, outputs, *transport);
    schedule = std::make_shared<const Schedule>(problem, make_orders(specification, shape.tokens, options.file_order), transport->num_ranks());
  });
  RingAttention ring(*transport, schedule, options.ring);
  AttentionReport report;
  report.forward = forward(ring, inputs, outputs);
  if (problem.with_gradient) report.backward = backward(ring, outputs);
  report.peak_bytes = ring.memory().peak_bytes();
  report.predicted_peak_bytes = ring.predicted_memory().host.peak_bytes();
  report.device = ring.device();
  return report;
}

template AttentionReport attention(MPI_Comm, const Specification&, const Shape&, const AttentionInputs<float>&, const AttentionOutputs<float>&,
                                   const AttentionOptions&);
template AttentionReport attention(MPI_Comm, const Specification&, const Shape&, const AttentionInputs<double>&, const AttentionOutputs<double>&,
                                   const AttentionOptions&);
template AttentionReport attention(MPI_Comm, const Specification&, const Shape&, const AttentionInputs<Float16>&, const AttentionOutputs<Float16>&,
                                   const AttentionOptions&);
template AttentionReport attention(MPI_Comm, const Specification&, const Shape&, const AttentionInputs<Bfloat16>&, const AttentionOutputs<Bfloat16>&,
                                   const AttentionOptions&);

}  // namespace hilbertring
