#pragma once

#include <optional>
#include <string>

#include "core/element_type.h"
#include "io/hdf5_handles.h"

namespace hilbertring {

/// The little-endian HDF5 type in which a dataset of `type` is stored. bfloat16 is a floating-point type of 1, 8 and 7 bits.
DatatypeHandle stored_type(ElementType type);
/// The same format in the machine's byte order: between this and any stored type of the format HDF5 only ever swaps bytes.
DatatypeHandle memory_type(ElementType type);

/// The element type whose bit fields `datatype` has, in either byte order; nothing for all other types.
std::optional<ElementType> element_type_of(hid_t datatype);
/// Signed 64-bit integer, in either byte order.
bool is_int64(hid_t datatype);
/// "32-bit signed integer", "compound", ... for a message.
std::string describe_type(hid_t datatype);

}  // namespace hilbertring
