#include "io/attributes.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "io/float_types.h"

namespace hilbertring {
namespace {

/// More elements than a person reads are not printed, and not read either.
constexpr hssize_t kMaxPrintedElements = 64;

struct OpenAttribute {
  AttributeHandle handle;
  DatatypeHandle type;
  DataspaceHandle space;

  H5T_class_t type_class() const { return H5Tget_class(type.get()); }
  hssize_t num_elements() const { return H5Sget_simple_extent_npoints(space.get()); }
};

std::string cannot_read(const std::string& name, const std::string& what) { return what + ": can't read attribute '" + name + "'"; }

OpenAttribute open_attribute(hid_t object, const std::string& name, const std::string& what) {
  const auto check = [&](hid_t id) { return checked(id, ErrorKind::kInput, cannot_read(name, what)); };
  OpenAttribute attribute;
  attribute.handle = AttributeHandle(check(H5Aopen(object, name.c_str(), H5P_DEFAULT)));
  attribute.type = DatatypeHandle(check(H5Aget_type(attribute.handle.get())));
  attribute.space = DataspaceHandle(check(H5Aget_space(attribute.handle.get())));
  return attribute;
}

std::string read_variable_string(const OpenAttribute& attribute, const std::string& what) {
  char* text = nullptr;
  checked(H5Aread(attribute.handle.get(), attribute.type.get(), static_cast<void*>(&text)), ErrorKind::kInput, what);
  std::string value = text == nullptr ? "" : text;
  H5free_memory(text);
  return value;
}

std::string read_fixed_string(const OpenAttribute& attribute, const std::string& what) {
  std::string value(H5Tget_size(attribute.type.get()), '\0');
  checked(H5Aread(attribute.handle.get(), attribute.type.get(), value.data()), ErrorKind::kInput, what);
  value.resize(std::min(value.size(), value.find('\0')));
  if (H5Tget_strpad(attribute.type.get()) == H5T_STR_SPACEPAD) value.resize(value.find_last_not_of(' ') + 1);
  return value;
}

bool is_single_string(const OpenAttribute& attribute) { return attribute.type_class() == H5T_STRING && attribute.num_elements() == 1; }

std::string read_string(const OpenAttribute& attribute, const std::string& what) {
  const htri_t is_variable = H5Tis_variable_str(attribute.type.get());
  return checked(is_variable, ErrorKind::kInput, what) > 0 ? read_variable_string(attribute, what) : read_fixed_string(attribute, what);
}

template <class Number>
std::string read_numbers(const OpenAttribute& attribute, hid_t native_type, const std::string& what) {
  std::vector<Number> values(static_cast<std::size_t>(attribute.num_elements()));
  checked(H5Aread(attribute.handle.get(), native_type, values.data()), ErrorKind::kInput, what);
  std::string text;
  for (const Number value : values) {
    std::array<char, 32> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    if (!text.empty()) text += ", ";
    text.append(digits.data(), end);
  }
  return H5Sget_simple_extent_type(attribute.space.get()) == H5S_SCALAR ? text : '[' + text + ']';
}

std::string print_attribute(const OpenAttribute& attribute, const std::string& what) {
  const hssize_t count = attribute.num_elements();
  const bool is_printable = count >= 1 && count <= kMaxPrintedElements;
  if (is_single_string(attribute)) return read_string(attribute, what);
  if (is_printable && attribute.type_class() == H5T_FLOAT) return read_numbers<double>(attribute, H5T_NATIVE_DOUBLE, what);
  if (is_printable && attribute.type_class() == H5T_INTEGER) {
    return H5Tget_sign(attribute.type.get()) == H5T_SGN_NONE ? read_numbers<std::uint64_t>(attribute, H5T_NATIVE_UINT64, what)
                                                             : read_numbers<std::int64_t>(attribute, H5T_NATIVE_INT64, what);
  }
  return '(' + describe_type(attribute.type.get()) + ')';
}

herr_t append_name(hid_t, const char* name, const H5A_info_t*, void* names) {
  static_cast<std::vector<std::string>*>(names)->emplace_back(name);
  return 0;
}

std::vector<std::string> attribute_names(hid_t object, const std::string& what) {
  std::vector<std::string> names;
  // Only files that track it (ours do) can be asked for the order of creation; the native order is the nearest thing in the others.
  if (H5Aiterate2(object, H5_INDEX_CRT_ORDER, H5_ITER_INC, nullptr, append_name, &names) >= 0) return names;
  names.clear();
  checked(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, append_name, &names), ErrorKind::kInput, what + ": can't list the attributes");
  return names;
}

void write_scalar(hid_t object, const std::string& name, hid_t type, const void* value) {
  const auto check = [&](auto status) { return checked(status, ErrorKind::kFailure, "can't write attribute '" + name + "'"); };
  if (check(H5Aexists(object, name.c_str())) > 0) check(H5Adelete(object, name.c_str()));
  const DataspaceHandle space(check(H5Screate(H5S_SCALAR)));
  const AttributeHandle attribute(check(H5Acreate2(object, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT)));
  check(H5Awrite(attribute.get(), type, value));
}

}  // namespace

std::optional<std::string> read_text_attribute(hid_t object, const std::string& name, const std::string& what) {
  if (checked(H5Aexists(object, name.c_str()), ErrorKind::kInput, what + ": can't look for attribute '" + name + "'") == 0) return std::nullopt;
  const OpenAttribute attribute = open_attribute(object, name, what);
  if (is_single_string(attribute)) return read_string(attribute, cannot_read(name, what));
  const bool is_list = attribute.type_class() == H5T_STRING;
  throw input_error(what + ": attribute '" + name + "' is " + (is_list ? "a list of strings" : describe_type(attribute.type.get())) +
                    "; it must be one string");
}

std::vector<std::pair<std::string, std::string>> read_attributes(hid_t object, const std::string& what) {
  std::vector<std::pair<std::string, std::string>> attributes;
  for (const std::string& name : attribute_names(object, what)) {
    attributes.emplace_back(name, print_attribute(open_attribute(object, name, what), cannot_read(name, what)));
  }
  return attributes;
}

void write_text_attribute(hid_t object, const std::string& name, const std::string& value) {
  const auto check = [&](auto status) { return checked(status, ErrorKind::kFailure, "can't write attribute '" + name + "'"); };
  const DatatypeHandle type(check(H5Tcopy(H5T_C_S1)));
  check(H5Tset_size(type.get(), H5T_VARIABLE));
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8));
  const char* text = value.c_str();
  write_scalar(object, name, type.get(), static_cast<const void*>(&text));
}

void write_attribute(hid_t object, const std::string& name, const std::string& value) {
  const auto json = nlohmann::json::parse(value, nullptr, false);
  const bool fits_int64 = json.is_number_integer() && !(json.is_number_unsigned() && json.get<std::uint64_t>() > std::uint64_t{INT64_MAX});
  if (fits_int64) {
    const auto number = json.get<std::int64_t>();
    write_scalar(object, name, H5T_STD_I64LE, &number);
  } else if (json.is_number()) {
    const auto number = json.get<double>();
    write_scalar(object, name, H5T_IEEE_F64LE, &number);
  } else {
    write_text_attribute(object, name, value);
  }
}

}  // namespace hilbertring
