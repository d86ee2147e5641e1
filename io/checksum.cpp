#include "io/checksum.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "io/case_file.h"
#include "io/files.h"
#include "io/slabs.h"

namespace hilbertring {
namespace {

/// Small enough to stay in the second-level cache between the copy out of the page cache and the hash.
constexpr std::int64_t kPieceBytes = std::int64_t{1} << 19;

void check_ssl(int status) {
  if (status != 1) throw Error(ErrorKind::kFailure, "OpenSSL", "SHA-256 is not available");
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  check_ssl(context_ == nullptr ? 0 : 1);
  check_ssl(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Free::operator()(evp_md_ctx_st* context) const noexcept { EVP_MD_CTX_free(context); }

void Sha256::add(std::span<const std::byte> bytes) { check_ssl(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size())); }

std::string Sha256::finish() {
  std::array<unsigned char, 32> digest{};
  check_ssl(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr));
  std::string text;
  for (const unsigned char byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

void add_file_range(Sha256& sum, const std::string& path, std::int64_t offset, std::int64_t num_bytes) {
  const FileDescriptor file = open_descriptor(path, O_RDONLY);
  std::vector<std::byte> piece(static_cast<std::size_t>(std::min(num_bytes, kPieceBytes)));
  for (std::int64_t done = 0; done < num_bytes;) {
    const auto want = static_cast<std::size_t>(std::min(num_bytes - done, kPieceBytes));
    const ssize_t got = pread(file.get(), piece.data(), want, offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw failure(path + ": can't read back: " + std::strerror(errno));
    if (got == 0) throw failure(path + ": can't read back: it ends " + std::to_string(num_bytes - done) + " bytes too early");
    sum.add({piece.data(), static_cast<std::size_t>(got)});
    done += got;
  }
}

std::string file_range_sha256(const std::string& path, std::int64_t offset, std::int64_t num_bytes) {
  Sha256 sum;
  add_file_range(sum, path, offset, num_bytes);
  return sum.finish();
}

std::string dataset_sha256(CaseFile& file, TensorName name) {
  const Hdf5Session session;
  const std::string what = file.path() + ": '/" + std::string(to_string(name)) + "'";
  const auto check = [&](auto status) { return checked(status, ErrorKind::kInput, what + ": can't be read"); };
  // An own, serial handle: the caller's may belong to several ranks, and its reads be collective.
  const FileHandle handle(check(H5Fopen(file.path().c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)));
  const DatasetHandle dataset(check(H5Dopen2(handle.get(), std::string(to_string(name)).c_str(), H5P_DEFAULT)));
  const DatatypeHandle type(check(H5Dget_type(dataset.get())));  // read as it is stored: no conversion touches the bytes
  const DataspaceHandle space(check(H5Dget_space(dataset.get())));
  Slab slab;
  slab.count.resize(static_cast<std::size_t>(check(H5Sget_simple_extent_ndims(space.get()))));
  slab.start.resize(slab.count.size(), 0);
  check(H5Sget_simple_extent_dims(space.get(), slab.count.data(), nullptr));
  const SlabTarget target{dataset.get(), type.get(), static_cast<std::int64_t>(H5Tget_size(type.get())), what};
  const FileRanks self(MPI_COMM_SELF);
  std::vector<std::byte> bytes(static_cast<std::size_t>(kPieceBytes));
  Sha256 sum;
  visit_pieces(slab, target.element_bytes, kPieceBytes, [&](const Slab& piece) {
    read_slab(self, target, piece, bytes);
    sum.add({bytes.data(), static_cast<std::size_t>(piece.num_elements() * target.element_bytes)});
  });
  return sum.finish();
}

}  // namespace hilbertring
