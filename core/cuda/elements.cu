#include <algorithm>
#include <type_traits>

#include "core/cuda/launch.cuh"
#include "core/cuda/store.cuh"

namespace hilbertring {

namespace {

constexpr unsigned kThreads = 256;
constexpr std::int64_t kMaxBlocks = 1 << 16;

std::int64_t num_elements(const ConstTensor& tensor) { return tensor.size_bytes() / size_bytes(tensor.type); }
std::int64_t blocks_for(std::int64_t count) { return std::min(ceil_div(count, std::int64_t{kThreads}), kMaxBlocks); }

__device__ std::int64_t first_index() { return static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; }
__device__ std::int64_t index_step() { return static_cast<std::int64_t>(gridDim.x) * kThreads; }

template <class T>
struct FillParameters {
  T* data;
  std::int64_t size;
  double value;
};

template <class T>
__global__ void fill_elements(const __grid_constant__ FillParameters<T> p) {
  for (std::int64_t i = first_index(); i < p.size; i += index_step()) store(p.data + i, p.value);
}

template <class From, class To>
struct ConvertParameters {
  const From* from;
  To* to;
  std::int64_t size;
  double factor;
};

template <class From, class To>
__global__ void convert_elements(const __grid_constant__ ConvertParameters<From, To> p) {
  for (std::int64_t i = first_index(); i < p.size; i += index_step()) store(p.to + i, p.factor * static_cast<double>(p.from[i]));
}

/// A row is copied in units of 16 bytes, or of 4 where it is one number.
template <class Unit>
struct CopyRowsParameters {
  Unit* rows;
  Unit* message;
  RowTable table;
  std::int64_t heads, rows_per_head, units_per_row;
  bool is_packing;
};

/// A block copies 64 rows of a head.
template <class Unit>
__global__ void copy_rows(const __grid_constant__ CopyRowsParameters<Unit> p) {
  const std::int64_t word_index = blockIdx.x;
  const std::int64_t batch = blockIdx.y / p.heads;
  const std::int64_t head_index = blockIdx.y % p.heads;
  const HeadRows head = p.table.heads[head_index];
  const RowWord word = p.table.words[head.first_word + word_index];
  if (word.bits == 0) return;
  Unit* const rows = p.rows + (blockIdx.y * p.rows_per_head + word_index * 64) * p.units_per_row;
  Unit* const message = p.message + (batch * p.table.num_rows + head.num_before + word.num_before) * p.units_per_row;
  for (std::int64_t i = threadIdx.x; i < 64 * p.units_per_row; i += kThreads) {
    const std::int64_t row = i / p.units_per_row;
    if ((word.bits >> row & 1) == 0) continue;
    Unit* const packed = message + __popcll(word.bits & ((1ULL << row) - 1)) * p.units_per_row + i % p.units_per_row;
    if (p.is_packing) {
      *packed = rows[i];
    } else {
      rows[i] = *packed;
    }
  }
}

template <class Unit>
void launch_copy(RowCopy direction, const Tensor& tensor, const RowTable& table, std::byte* message, cudaStream_t stream) {
  const CopyRowsParameters<Unit> parameters{.rows = reinterpret_cast<Unit*>(tensor.data),
                                            .message = reinterpret_cast<Unit*>(message),
                                            .table = table,
                                            .heads = tensor.heads,
                                            .rows_per_head = tensor.rows,
                                            .units_per_row = tensor.row_bytes() / static_cast<std::int64_t>(sizeof(Unit)),
                                            .is_packing = direction == RowCopy::kPack};
  launch_checked(copy_rows<Unit>, ceil_div(tensor.rows, 64), kThreads, 0, stream, parameters, static_cast<unsigned>(tensor.batch * tensor.heads));
}

/// Strides count units.
template <class Unit>
struct CopyListedRowsParameters {
  Unit* device;
  Unit* host;
  const RowOffsets* offsets;
  std::int64_t num_rows, heads, units_per_row;
  std::int64_t device_head_stride, host_head_stride;
  bool is_packing;
};

/// What neighbouring threads touch lies together in the host's memory wherever it can: the bus moves whole lines. Heads that follow each other there
/// (rows of tokens) go before rows; where a head has its rows together (one number each), rows go first.
template <class Unit>
__global__ void copy_listed_rows(const __grid_constant__ CopyListedRowsParameters<Unit> p) {
  const std::int64_t units = p.units_per_row;
  const bool are_heads_together = p.host_head_stride == units;
  for (std::int64_t i = first_index(); i < p.num_rows * p.heads * units; i += index_step()) {
    const std::int64_t unit = i % units, head_row = i / units;
    const std::int64_t head = are_heads_together ? head_row % p.heads : head_row / p.num_rows;
    const RowOffsets offset = p.offsets[are_heads_together ? head_row / p.heads : head_row % p.num_rows];
    Unit* const on_device = p.device + offset.on_device / static_cast<std::int64_t>(sizeof(Unit)) + head * p.device_head_stride + unit;
    Unit* const on_host = p.host + offset.on_host / static_cast<std::int64_t>(sizeof(Unit)) + head * p.host_head_stride + unit;
    if (p.is_packing) {
      *on_host = *on_device;
    } else {
      *on_device = *on_host;
    }
  }
}

template <class Unit>
void launch_listed_copy(RowCopy direction, std::byte* device, const ListedRows& rows, std::byte* host, cudaStream_t stream) {
  constexpr std::int64_t kUnitBytes = sizeof(Unit);
  const CopyListedRowsParameters<Unit> parameters{.device = reinterpret_cast<Unit*>(device),
                                                  .host = reinterpret_cast<Unit*>(host),
                                                  .offsets = rows.offsets.data(),
                                                  .num_rows = static_cast<std::int64_t>(rows.offsets.size()),
                                                  .heads = rows.heads,
                                                  .units_per_row = rows.row_bytes / kUnitBytes,
                                                  .device_head_stride = rows.device_head_stride / kUnitBytes,
                                                  .host_head_stride = rows.host_head_stride / kUnitBytes,
                                                  .is_packing = direction == RowCopy::kPack};
  const std::int64_t num_units = parameters.num_rows * parameters.heads * parameters.units_per_row;
  launch_checked(copy_listed_rows<Unit>, blocks_for(num_units), kThreads, 0, stream, parameters);
}

bool is_at_16_bytes(const std::byte* memory) { return reinterpret_cast<std::uintptr_t>(memory) % 16 == 0; }

}  // namespace

void launch_fill(const Tensor& tensor, double value, cudaStream_t stream) {
  visit_element_type(tensor.type, [&]<class T>(T) {
    const FillParameters<T> parameters{reinterpret_cast<T*>(tensor.data), num_elements(tensor), value};
    launch_checked(fill_elements<T>, blocks_for(parameters.size), kThreads, 0, stream, parameters);
  });
}

void launch_convert(const ConstTensor& src, const Tensor& dst, double factor, cudaStream_t stream) {
  visit_element_type(src.type, [&]<class From>(From) {
    visit_element_type(dst.type, [&]<class To>(To) {
      if constexpr (std::is_floating_point_v<From>) {
        const ConvertParameters<From, To> parameters{reinterpret_cast<const From*>(src.data), reinterpret_cast<To*>(dst.data), num_elements(src), factor};
        launch_checked(convert_elements<From, To>, blocks_for(parameters.size), kThreads, 0, stream, parameters);
      }
    });
  });
}

void launch_copy_rows(RowCopy direction, const Tensor& tensor, const RowTable& table, std::byte* message, cudaStream_t stream) {
  // Messages begin at multiples of 16 bytes, but a tensor of one number per row may leave its successors at 4.
  if (tensor.row_bytes() % 16 == 0 && is_at_16_bytes(message)) return launch_copy<uint4>(direction, tensor, table, message, stream);
  launch_copy<std::uint32_t>(direction, tensor, table, message, stream);
}

void launch_copy_listed_rows(RowCopy direction, std::byte* device, const ListedRows& rows, std::byte* host, cudaStream_t stream) {
  if (rows.offsets.empty()) return;
  // Offsets and strides are whole rows, or whole heads of rows.
  if (rows.row_bytes % 16 == 0 && is_at_16_bytes(device) && is_at_16_bytes(host)) {
    return launch_listed_copy<uint4>(direction, device, rows, host, stream);
  }
  launch_listed_copy<std::uint32_t>(direction, device, rows, host, stream);
}

}  // namespace hilbertring
