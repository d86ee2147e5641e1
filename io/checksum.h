#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX

namespace hilbertring {

/// SHA-256 of bytes that come piece by piece.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void add(std::span<const std::byte> bytes);
  /// 64 hexadecimal digits; nothing may be added afterwards.
  std::string finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const noexcept;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

/// Adds `num_bytes` bytes of a file from `offset` on, read in bounded pieces. Throws Error(kFailure).
void add_file_range(Sha256& sum, const std::string& path, std::int64_t offset, std::int64_t num_bytes);
/// The sum of these alone.
std::string file_range_sha256(const std::string& path, std::int64_t offset, std::int64_t num_bytes);

}  // namespace hilbertring
