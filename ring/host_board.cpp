#include "ring/host_board.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <string>
#include <utility>

namespace hilbertring {

namespace {

/// The same for ranks that run on one kernel, and only for them.
std::string host_identity() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string identity;
  std::getline(file, identity);
  return identity;
}

/// A file descriptor, or -1.
class SharedFile {
 public:
  explicit SharedFile(int descriptor) : descriptor_(descriptor) {}
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;
  ~SharedFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  /// False where the host has not that much: better now than as a signal when it is touched.
  bool reserve(std::int64_t num_bytes) const { return descriptor_ >= 0 && ::posix_fallocate(descriptor_, 0, num_bytes) == 0; }
  std::span<std::byte> map(std::int64_t num_bytes) const {
    if (descriptor_ < 0) return {};
    void* const memory = ::mmap(nullptr, static_cast<std::size_t>(num_bytes), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
    if (memory == MAP_FAILED) return {};
    return {static_cast<std::byte*>(memory), static_cast<std::size_t>(num_bytes)};
  }

 private:
  int descriptor_;
};

/// A name of its own in /dev/shm, or "" if there is no room.
std::string make_shared_file(std::int64_t num_bytes) {
  constexpr int kOwnerOnly = 0600;
  std::string name = "/hilbertring-" + std::to_string(::getpid()) + "-" + std::to_string(std::random_device()());
  const SharedFile file(::shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, kOwnerOnly));
  if (file.reserve(num_bytes)) return name;
  ::shm_unlink(name.c_str());
  return "";
}

std::vector<Rank> ranks_with(const std::vector<std::string>& texts, const std::string& text) {
  std::vector<Rank> ranks;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (texts[i] == text) ranks.emplace_back(static_cast<std::int64_t>(i));
  }
  return ranks;
}

}  // namespace

std::optional<HostBoard> HostBoard::create(Transport& transport, std::int64_t (*num_bytes_for)(std::int64_t num_ranks)) {
  const std::string identity = host_identity();
  std::vector<Rank> ranks = ranks_with(transport.all_gather(identity), identity);
  const std::int64_t num_bytes = num_bytes_for(static_cast<std::int64_t>(ranks.size()));
  const bool makes_it = ranks.front() == transport.rank() && ranks.size() > 1 && !identity.empty();
  const std::string own_name = makes_it ? make_shared_file(num_bytes) : "";
  const auto of_rank = [](const std::vector<std::string>& texts, Rank rank) { return texts[static_cast<std::size_t>(rank.value)]; };
  const std::string name = of_rank(transport.all_gather(own_name), ranks.front());

  std::span<std::byte> bytes;
  if (!name.empty()) bytes = SharedFile(::shm_open(name.c_str(), O_RDWR, 0)).map(num_bytes);
  const std::vector<std::string> outcomes = transport.all_gather(bytes.empty() ? "not mapped" : "mapped");
  if (makes_it && !name.empty()) ::shm_unlink(name.c_str());
  HostBoard board(bytes, std::move(ranks));
  const bool is_whole = std::ranges::all_of(board.ranks_, [&](Rank rank) { return of_rank(outcomes, rank) == "mapped"; });
  if (!is_whole) return std::nullopt;
  return board;
}

HostBoard::HostBoard(HostBoard&& other) noexcept : bytes_(std::exchange(other.bytes_, {})), ranks_(std::move(other.ranks_)) {}

HostBoard& HostBoard::operator=(HostBoard&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(ranks_, other.ranks_);
  return *this;
}

HostBoard::~HostBoard() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace hilbertring
