#include "io/float_types.h"

#include <array>

namespace hilbertring {
namespace {

/// Where the bits of a floating-point format are, counted from the lowest, mantissa at 0 and sign on top.
struct BitFields {
  ElementType type;
  std::size_t num_bytes;
  std::size_t exponent_bits;
  std::size_t mantissa_bits;
  std::size_t exponent_bias;

  std::size_t sign_at() const { return 8 * num_bytes - 1; }
};

constexpr std::array kFormats = {BitFields{ElementType::kFloat16, 2, 5, 10, 15}, BitFields{ElementType::kBfloat16, 2, 8, 7, 127},
                                 BitFields{ElementType::kFloat32, 4, 8, 23, 127}, BitFields{ElementType::kFloat64, 8, 11, 52, 1023}};

const BitFields& fields_of(ElementType type) {
  for (const BitFields& format : kFormats) {
    if (format.type == type) return format;
  }
  throw failure("element type without an HDF5 format");
}

DatatypeHandle make_type(const BitFields& format, H5T_order_t order) {
  const std::string what = "can't make the floating-point type " + std::string(to_string(format.type));
  const auto check = [&](herr_t status) { checked(status, ErrorKind::kFailure, what); };
  const hid_t base = format.num_bytes == 8 ? H5T_IEEE_F64LE : H5T_IEEE_F32LE;
  DatatypeHandle type(checked(H5Tcopy(base), ErrorKind::kFailure, what));
  // Narrowing: fields must lie within the precision at every moment, so they move first.
  check(H5Tset_fields(type.get(), format.sign_at(), format.mantissa_bits, format.exponent_bits, 0, format.mantissa_bits));
  check(H5Tset_precision(type.get(), 8 * format.num_bytes));
  check(H5Tset_size(type.get(), format.num_bytes));
  check(H5Tset_ebias(type.get(), format.exponent_bias));
  check(H5Tset_order(type.get(), order));
  return type;
}

bool has_fields(hid_t datatype, const BitFields& format) {
  std::size_t sign_at = 0, exponent_at = 0, exponent_bits = 0, mantissa_at = 0, mantissa_bits = 0;
  if (H5Tget_fields(datatype, &sign_at, &exponent_at, &exponent_bits, &mantissa_at, &mantissa_bits) < 0) return false;
  return H5Tget_size(datatype) == format.num_bytes && sign_at == format.sign_at() && exponent_at == format.mantissa_bits &&
         exponent_bits == format.exponent_bits && mantissa_at == 0 && mantissa_bits == format.mantissa_bits &&
         H5Tget_ebias(datatype) == format.exponent_bias && H5Tget_norm(datatype) == H5T_NORM_IMPLIED;
}

bool has_plain_order(hid_t datatype) {
  const H5T_order_t order = H5Tget_order(datatype);
  return order == H5T_ORDER_LE || order == H5T_ORDER_BE;
}

}  // namespace

DatatypeHandle stored_type(ElementType type) { return make_type(fields_of(type), H5T_ORDER_LE); }

DatatypeHandle memory_type(ElementType type) { return make_type(fields_of(type), H5Tget_order(H5T_NATIVE_FLOAT)); }

std::optional<ElementType> element_type_of(hid_t datatype) {
  if (H5Tget_class(datatype) != H5T_FLOAT || !has_plain_order(datatype)) return std::nullopt;
  for (const BitFields& format : kFormats) {
    if (has_fields(datatype, format)) return format.type;
  }
  return std::nullopt;
}

bool is_int64(hid_t datatype) {
  return H5Tget_class(datatype) == H5T_INTEGER && H5Tget_size(datatype) == 8 && H5Tget_precision(datatype) == 64 &&
         H5Tget_sign(datatype) == H5T_SGN_2 && has_plain_order(datatype);
}

std::string describe_type(hid_t datatype) {
  const std::string bits = std::to_string(8 * H5Tget_size(datatype)) + "-bit ";
  switch (H5Tget_class(datatype)) {
    case H5T_INTEGER: return bits + (H5Tget_sign(datatype) == H5T_SGN_NONE ? "unsigned integer" : "signed integer");
    case H5T_FLOAT: {
      const auto type = element_type_of(datatype);
      return type ? std::string(to_string(*type)) : bits + "floating point of another format";
    }
    case H5T_STRING: return "string";
    case H5T_BITFIELD: return "bit field";
    case H5T_OPAQUE: return "opaque";
    case H5T_COMPOUND: return "compound";
    case H5T_REFERENCE: return "reference";
    case H5T_ENUM: return "enumeration";
    case H5T_VLEN: return "variable-length list";
    case H5T_ARRAY: return "array";
    default: return "unknown";
  }
}

}  // namespace hilbertring
