#include "io/hdf5_handles.h"

#include <algorithm>

namespace hilbertring {
namespace {

std::recursive_mutex& hdf5_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

herr_t keep_innermost(unsigned index, const H5E_error2_t* error, void* text) {
  if (index == 0 && error->desc != nullptr) *static_cast<std::string*>(text) = error->desc;
  return 0;
}

/// The POSIX driver's texts carry times, buffer addresses and counts ("file write failed: time = ..., error message = 'REASON', ..."): kept are the
/// words before and the reason.
std::string without_driver_details(const std::string& text) {
  const std::string key = "error message = '";
  const auto begin = text.find(key);
  const auto colon = text.find(": ");
  if (begin == std::string::npos || colon > begin) return text;
  const auto reason = begin + key.size();
  return text.substr(0, colon + 2) + text.substr(reason, text.find('\'', reason) - reason);
}

}  // namespace

Hdf5Session::Hdf5Session() : lock_(hdf5_mutex()) {
  H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Hdf5Session::~Hdf5Session() { H5Eset_auto2(H5E_DEFAULT, print_, print_data_); }

std::string hdf5_error_text() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &text);
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' '; }, ' ');
  return text.empty() ? "no details" : without_driver_details(text);
}

PropertyHandle make_properties(hid_t property_class) {
  return PropertyHandle(checked(H5Pcreate(property_class), ErrorKind::kFailure, "can't create a property list"));
}

}  // namespace hilbertring
