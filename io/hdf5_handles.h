#pragma once

#include <hdf5.h>

#include <mutex>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

#include "core/error.h"

namespace hilbertring {

/// HDF5 for the length of one call: the process-wide lock (the packaged parallel HDF5 is not thread-safe, and loopback ranks are threads), and
/// HDF5's own printing of error stacks off, as the caller had it again afterwards. May be nested.
class Hdf5Session {
 public:
  Hdf5Session();
  ~Hdf5Session();
  Hdf5Session(const Hdf5Session&) = delete;
  Hdf5Session& operator=(const Hdf5Session&) = delete;

 private:
  std::unique_lock<std::recursive_mutex> lock_;
  H5E_auto2_t print_ = nullptr;
  void* print_data_ = nullptr;
};

/// The innermost text of HDF5's current error stack, on one line, or "no details".
std::string hdf5_error_text();

/// Returns `value`, or throws Error{kind, "HDF5", "WHAT (HDF5's innermost text)"} when it is negative. Inside a session only.
template <class T>
T checked(T value, ErrorKind kind, const std::string& what, std::source_location where = std::source_location::current()) {
  static_assert(std::is_signed_v<T>);
  if (value < 0) throw Error(kind, "HDF5", what + " (" + hdf5_error_text() + ")", -1, where);
  return value;
}

/// Owner of one HDF5 identifier. Its null is -1.
template <herr_t (*Close)(hid_t)>
class Hdf5Handle {
 public:
  Hdf5Handle() = default;
  explicit Hdf5Handle(hid_t id) : id_(id) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(other.release()) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    if (this != &other) {
      close();
      id_ = other.release();
    }
    return *this;
  }
  ~Hdf5Handle() { close(); }

  hid_t get() const { return id_; }
  /// Gives the identifier up without closing it.
  hid_t release() { return std::exchange(id_, -1); }
  /// Closes now; negative when HDF5 could not.
  herr_t close() { return id_ < 0 ? 0 : Close(release()); }

 private:
  hid_t id_ = -1;
};

using FileHandle = Hdf5Handle<H5Fclose>;
using ObjectHandle = Hdf5Handle<H5Oclose>;
using DatasetHandle = Hdf5Handle<H5Dclose>;
using DataspaceHandle = Hdf5Handle<H5Sclose>;
using DatatypeHandle = Hdf5Handle<H5Tclose>;
using AttributeHandle = Hdf5Handle<H5Aclose>;
using PropertyHandle = Hdf5Handle<H5Pclose>;

/// H5Pcreate, checked.
PropertyHandle make_properties(hid_t property_class);

}  // namespace hilbertring
