#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/hdf5_handles.h"

namespace hilbertring {

/// Text of the string attribute `name` on `object` (fixed or variable length, one element); nothing if there is no such attribute.
/// Throws Error(kInput), "WHAT: attribute 'NAME' ...", if it is no single string.
std::optional<std::string> read_text_attribute(hid_t object, const std::string& name, const std::string& what);

/// All attributes of `object` as text, in order of creation where the file keeps it: strings as they are, integers and floats printed (lists as
/// "[a, b]"), anything else as "(TYPE)". `what` is for messages.
std::vector<std::pair<std::string, std::string>> read_attributes(hid_t object, const std::string& what);

/// Stores variable-length UTF-8 text, as h5py does; replaces an attribute of that name. Collective in a parallel file.
void write_text_attribute(hid_t object, const std::string& name, const std::string& value);
/// As write_text_attribute, but a text that is a JSON number becomes an int64 or float64.
void write_attribute(hid_t object, const std::string& name, const std::string& value);

}  // namespace hilbertring
