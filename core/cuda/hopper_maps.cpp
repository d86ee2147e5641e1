#include "core/cuda/hopper_maps.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <string>

#include "core/cuda/device.h"
#include "core/error.h"
#include "core/index.h"

namespace hilbertring {

namespace {

constexpr std::uint32_t kPanelColumns = 64;
constexpr std::uint64_t kElementBytes = 2;
constexpr std::uint64_t kWideRowBytes = 256;
constexpr unsigned kSinceCuda = 12000;

}  // namespace

CUtensorMap make_row_map(const ConstTensor& tensor, std::int64_t stride, std::int32_t box_rows) {
  const auto columns = static_cast<std::uint64_t>(tensor.columns);
  const auto rows = static_cast<std::uint64_t>(tensor.rows);
  const auto step = static_cast<std::uint64_t>(stride);
  const std::uint64_t row_bytes = columns * kElementBytes;
  const std::array<cuuint64_t, 4> sizes{columns, step, (rows + step - 1) / step, static_cast<std::uint64_t>(tensor.batch * tensor.heads)};
  const std::array<cuuint64_t, 3> strides{row_bytes, step * row_bytes, rows * row_bytes};
  const std::array<cuuint32_t, 4> box{kPanelColumns, 1, static_cast<cuuint32_t>(box_rows), 1};
  const std::array<cuuint32_t, 4> every{1, 1, 1, 1};
  // Bigger pieces from memory only where they hold nothing but the rows asked for.
  const CUtensorMapL2promotion promotion = row_bytes >= kWideRowBytes ? CU_TENSOR_MAP_L2_PROMOTION_L2_256B : CU_TENSOR_MAP_L2_PROMOTION_L2_128B;
  const CUtensorMapDataType type = tensor.type == ElementType::kFloat16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  CUtensorMap map;
  static const auto encode = driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled", kSinceCuda);
  const CUresult status = encode(&map, type, 4, const_cast<std::byte*>(tensor.data), sizes.data(), strides.data(), box.data(), every.data(),
                                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw Error(ErrorKind::kFailure, "CUDA",
                "cuTensorMapEncodeTiled refuses rows of " + std::to_string(tensor.columns) + " columns, " + std::to_string(stride) +
                    " apart, with code " + std::to_string(static_cast<int>(status)));
  }
  return map;
}

}  // namespace hilbertring
