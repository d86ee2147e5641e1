#include "ring/attention.h"

#include <utility>

#include "core/error.h"
#include "ring/attention_state.h"

namespace hilbertring {

MessagePath message_path(Backend backend, bool links_devices) {
  if (backend == Backend::kCpu) return MessagePath::kHost;
  return links_devices ? MessagePath::kLinked : MessagePath::kStaged;
}

RingAttention::RingAttention(Transport& transport, std::shared_ptr<const Schedule> schedule, RingOptions options)
    : state_(std::make_unique<State>(transport, std::move(schedule), std::move(options))) {}
RingAttention::~RingAttention() = default;
RingAttention::RingAttention(RingAttention&&) noexcept = default;

void RingAttention::load(ShardTensor tensor, std::span<const std::byte> slab) { state_->mover_of(tensor).load(slab, state_->loading(tensor)); }

void RingAttention::load_in_pieces(ShardTensor tensor, const PieceReader& read) {
  state_->mover_of(tensor).load_in_pieces(read, state_->loading(tensor));
}

void RingAttention::load_random(ShardTensor tensor, std::uint64_t seed) { state_->load_random(tensor, seed); }

PassReport RingAttention::forward(PassMode mode) { return state_->measured(Pass::kForward, mode, state_->schedule->leg({})); }

PassReport RingAttention::backward(PassMode mode) {
  state_->require_forward(mode);
  return state_->measured(Pass::kBackward, mode, state_->schedule->leg({}));
}

PassReport RingAttention::fold(Pass pass, LagRange lags) {
  if (pass == Pass::kBackward) state_->require_forward(PassMode::kWhole);
  if (!state_->options.in_legs || (lags.begin != 0 && lags.begin != state_->next_lag)) {
    throw usage_error("a leg of lags from " + std::to_string(lags.begin) + " needs the option in_legs, and the lags up to " +
                      std::to_string(state_->next_lag) + " have been folded");
  }
  return state_->measured(pass, PassMode::kWhole, state_->schedule->leg(lags));
}

std::int64_t RingAttention::num_lags() const { return state_->schedule->num_lags(); }

void RingAttention::resume_at(Pass pass, std::int64_t lag) {
  state_->is_forward_done = pass == Pass::kBackward;
  state_->next_lag = lag;
  state_->progress.resume();
}

void RingAttention::store(ShardTensor tensor, ElementType type, std::span<std::byte> slab) {
  Buffer converted;
  state_->mover_of(tensor).store(state_->result_as(tensor, type, converted), slab);
}

void RingAttention::store_in_pieces(ShardTensor tensor, ElementType type, const PieceWriter& write) {
  Buffer converted;
  state_->mover_of(tensor).store_in_pieces(state_->result_as(tensor, type, converted), write);
}

const MemoryMeter& RingAttention::memory() const { return *state_->meters.host; }
const MemoryMeter& RingAttention::gpu_memory() const {
  static const MemoryMeter nothing;
  return state_->device->is_host() ? nothing : *state_->meters.device;
}
const MemoryMeter& RingAttention::gpu_scratch() const { return *state_->gpu_scratch; }
const RankMemory& RingAttention::predicted_memory() const { return state_->prediction; }
ElementType RingAttention::weights_type() const { return state_->device->weights_type(state_->schedule->problem().type); }
std::string RingAttention::device() const { return state_->device->description(); }

}  // namespace hilbertring
