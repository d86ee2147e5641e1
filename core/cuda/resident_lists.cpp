#include "core/cuda/resident_lists.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace hilbertring {

namespace {

constexpr std::int64_t kAlignment = 256;

constexpr std::int64_t round_up(std::int64_t n) { return ceil_div(n, kAlignment) * kAlignment; }

/// Places of a list's arrays in one run of memory: those that are uploaded, in one copy, then what is made on the device.
struct ListLayout {
  explicit ListLayout(const WorkList& list) {
    tiles = take(std::ssize(list.tiles), sizeof(WorkTile));
    own_runs = take(std::ssize(list.own_runs), sizeof(OwnRun));
    meetings = take(std::ssize(list.meetings), sizeof(Meeting));
    tasks = take(std::ssize(list.extremes), sizeof(ExtremesTask));
    masks = take(std::ssize(list.mask_words), sizeof(std::uint32_t));
    uploaded_bytes = used_;
    extremes = take(std::ssize(list.extremes), sizeof(TimeExtremes));
    claims = take(std::ssize(list.launch_ends), sizeof(std::int32_t));
    total_bytes = used_;
  }

  std::int64_t tiles, own_runs, meetings, tasks, masks, extremes, claims;
  std::int64_t uploaded_bytes, total_bytes;

 private:
  std::int64_t take(std::int64_t count, std::size_t size) {
    const std::int64_t at = used_;
    used_ = round_up(used_ + count * static_cast<std::int64_t>(size));
    return at;
  }
  std::int64_t used_ = 0;
};

template <class T>
void put(std::byte* to, const std::vector<T>& items) {
  if (!items.empty()) std::memcpy(to, items.data(), items.size() * sizeof(T));
}

template <class T>
T* at(const Buffer& memory, std::int64_t offset) {
  return reinterpret_cast<T*>(memory.data() + offset);
}

bool is_same(const ChunkRows& a, const ChunkRows& b) { return a.positions == b.positions && a.first_row == b.first_row; }

bool are_same(std::span<const ChunkPair> a, std::span<const ChunkPair> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const ChunkPair& x, const ChunkPair& y) { return is_same(x.queries, y.queries) && is_same(x.keys, y.keys); });
}

/// Grows by half at least, so that growing ends soon. Freeing device memory waits for the kernels that use it.
void grow(Buffer& buffer, std::int64_t num_bytes, Buffer (*make)(std::int64_t, std::shared_ptr<MemoryMeter>),
          const std::shared_ptr<MemoryMeter>& meter) {
  if (buffer.size_bytes() >= num_bytes) return;
  const std::int64_t size = std::max(num_bytes, buffer.size_bytes() + buffer.size_bytes() / 2);
  buffer = Buffer();
  buffer = make(size, meter);
}

}  // namespace

ResidentLists::ResidentLists(cudaStream_t stream, std::shared_ptr<MemoryMeter> meter) : stream_(stream), meter_(std::move(meter)) {}

bool ResidentLists::is_of(const Kept& kept, const Request& request) {
  return kept.pattern_id == request.pattern.id() && kept.owner == request.owner && kept.tile_rows == request.tile_rows &&
         are_same(kept.pairs, request.pairs);
}

const ResidentList* ResidentLists::find(const Request& request) const {
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const auto& kept) { return is_of(*kept, request); });
  return found == kept_.end() ? nullptr : &(*found)->uploaded.list;
}

const ResidentList& ResidentLists::get(const Request& request) {
  const ResidentList* const known = find(request);
  const ResidentList& list = known != nullptr ? *known : make(request);
  if (!list.launch_ends.empty()) check(cudaMemsetAsync(list.num_claimed, 0, list.launch_ends.size() * sizeof(std::int32_t), stream_));
  return list;
}

/// Only a list that has been uploaded is kept: where there is no memory, the next call must fail, too.
const ResidentList& ResidentLists::make(const Request& request) {
  const WorkList list = make_work_list(request.pattern, request.pairs, request.owner, request.tile_rows);
  const std::int64_t num_bytes = ListLayout(list).total_bytes;
  if (kept_bytes_ + num_bytes > kKeptBytes) {
    Uploaded& passing = passing_[static_cast<std::size_t>(request.owner)];
    upload(list, passing);
    return passing.list;
  }
  auto kept = std::make_unique<Kept>(Kept{.pattern_id = request.pattern.id(),
                                          .owner = request.owner,
                                          .tile_rows = request.tile_rows,
                                          .pairs = {request.pairs.begin(), request.pairs.end()},
                                          .uploaded = {}});
  upload(list, kept->uploaded);
  kept_bytes_ += num_bytes;
  return kept_.emplace_back(std::move(kept))->uploaded.list;
}

/// Two staging buffers, so that the host can write the next list while the last one is being copied. A list that is not kept is written over by the
/// next: the stream keeps its upload behind the kernels that read the last.
void ResidentLists::upload(const WorkList& list, Uploaded& uploaded) {
  const ListLayout layout(list);
  Buffer& memory = uploaded.memory;
  std::swap(staging_[0], staging_[1]);
  Staging& staging = staging_[0];
  staging.copied.wait();
  grow(staging.buffer, layout.uploaded_bytes, make_pinned_buffer, meter_);
  grow(memory, layout.total_bytes, make_device_buffer, meter_);
  std::byte* const to = staging.buffer.data();
  put(to + layout.tiles, list.tiles);
  put(to + layout.own_runs, list.own_runs);
  put(to + layout.meetings, list.meetings);
  put(to + layout.tasks, list.extremes);
  put(to + layout.masks, list.mask_words);
  if (layout.uploaded_bytes > 0) {
    check(cudaMemcpyAsync(memory.data(), to, static_cast<std::size_t>(layout.uploaded_bytes), cudaMemcpyHostToDevice, stream_));
  }
  staging.copied.record(stream_);
  uploaded.list = {.tiles = at<WorkTile>(memory, layout.tiles),
                   .own_runs = at<OwnRun>(memory, layout.own_runs),
                   .meetings = at<Meeting>(memory, layout.meetings),
                   .extremes_tasks = at<ExtremesTask>(memory, layout.tasks),
                   .extremes = at<TimeExtremes>(memory, layout.extremes),
                   .mask_words = at<std::uint32_t>(memory, layout.masks),
                   .num_claimed = at<std::int32_t>(memory, layout.claims),
                   .num_extremes = std::ssize(list.extremes),
                   .num_allowed_pairs = list.num_allowed_pairs,
                   .launch_ends = list.launch_ends,
                   .strides = list.strides};
}

}  // namespace hilbertring
