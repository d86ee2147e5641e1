#include "core/cuda/work_list.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "core/cuda/run_refinement.h"
#include "core/error.h"
#include "core/operand_checks.h"

namespace hilbertring {

namespace {

constexpr std::int64_t kBitsPerWord = 32;

std::int32_t to_int32(std::int64_t value, const char* what) {
  if (value > std::numeric_limits<std::int32_t>::max()) {
    throw usage_error(std::string(what) + " are " + std::to_string(value) + " in one call, but the GPU's kernels take at most 2147483647");
  }
  return static_cast<std::int32_t>(value);
}

/// Own heads with the same blocks: query heads of a class, or KV heads whose groups hold the same classes in the same order.
struct HeadFamily {
  std::vector<std::int32_t> own_heads;
  std::vector<std::int64_t> query_heads;  ///< those of the first own head
};

std::vector<HeadFamily> head_families(const Pattern& pattern, Owner owner) {
  const std::int64_t group = owner == Owner::kKeys ? pattern.shape().heads_per_kv_head() : 1;
  std::map<std::vector<std::int64_t>, std::size_t> family_of_classes;
  std::vector<HeadFamily> families;
  for (std::int64_t own_head = 0; own_head * group < pattern.shape().heads; ++own_head) {
    std::vector<std::int64_t> heads, classes;
    for (std::int64_t head = own_head * group; head < (own_head + 1) * group; ++head) {
      heads.push_back(head);
      classes.push_back(pattern.head_class(head));
    }
    const auto [place, is_new] = family_of_classes.try_emplace(std::move(classes), families.size());
    if (is_new) families.push_back({.own_heads = {}, .query_heads = std::move(heads)});
    families[place->second].own_heads.push_back(static_cast<std::int32_t>(own_head));
  }
  return families;
}

Position last_of(const Run& run) { return run[run.count - 1]; }

/// Whether two runs share no position. May say no where it would need number theory.
bool are_disjoint(const Run& a, const Run& b) {
  if (last_of(a) < b.first || last_of(b) < a.first) return true;
  return a.stride == b.stride && (a.first - b.first) % a.stride != 0;
}

/// A run of own rows meets a block's other side.
struct Encounter {
  Run own;
  Meeting meeting;
};

/// Own runs of one launch with what they meet, for one chunk.
struct Phase {
  struct Entry {
    Run own;
    std::vector<Meeting> meetings;
  };
  std::vector<Entry> entries;
  std::map<Position, std::size_t> entry_at;
  Position end;  ///< behind all own runs

  /// False if the run overlaps another one.
  bool add(const Encounter& encounter) {
    const Run& own = encounter.own;
    const auto found = entry_at.find(own.first);
    if (found != entry_at.end() && entries[found->second].own == own) {
      entries[found->second].meetings.push_back(encounter.meeting);
      return true;
    }
    const bool is_free = entries.empty() || end <= own.first ||
                         std::all_of(entries.begin(), entries.end(), [&](const Entry& entry) { return are_disjoint(entry.own, own); });
    if (!is_free) return false;
    entry_at[own.first] = entries.size();
    end = entries.empty() ? last_of(own) + 1 : std::max(end, last_of(own) + 1);
    entries.push_back({.own = own, .meetings = {encounter.meeting}});
    return true;
  }

  /// Products of own and other rows, whole tiles of own rows counted.
  std::int64_t cost(std::int32_t tile_rows) const {
    std::int64_t sum = 0;
    for (const Entry& entry : entries) {
      std::int64_t others = 0;
      for (const Meeting& meeting : entry.meetings) others += meeting.rows.count;
      sum += ceil_div(entry.own.count, tile_rows) * tile_rows * others;
    }
    return sum;
  }
};

/// One launch after the other, a new one where own runs overlap.
std::vector<Phase> phases_in_turn(const std::vector<Encounter>& encounters) {
  std::vector<Phase> phases(1);
  for (const Encounter& encounter : encounters) {
    if (phases.back().add(encounter)) continue;
    phases.emplace_back();
    phases.back().add(encounter);
  }
  return phases;
}

/// All in one launch: own runs are cut where they overlap, and each piece meets what its runs meet, in their order. nullopt if that can't be: a mask
/// knows the rows of its block.
std::optional<Phase> phase_of_pieces(const std::vector<Encounter>& encounters) {
  std::vector<Run> runs;
  std::map<std::pair<Position, std::pair<std::int64_t, std::int64_t>>, std::size_t> known;
  std::vector<std::size_t> run_of_encounter;
  for (const Encounter& encounter : encounters) {
    if (encounter.meeting.first_word >= 0) return std::nullopt;
    const Run& own = encounter.own;
    const auto [place, is_new] = known.try_emplace({own.first, {own.stride, own.count}}, runs.size());
    if (is_new) runs.push_back(own);
    run_of_encounter.push_back(place->second);
  }
  const auto pieces = refine_runs(runs);
  if (!pieces) return std::nullopt;
  Phase phase;
  for (const RefinedRun& piece : *pieces) {
    Phase::Entry entry{.own = piece.run, .meetings = {}};
    for (std::size_t i = 0; i < encounters.size(); ++i) {
      if (piece.lies_in(run_of_encounter[i])) entry.meetings.push_back(encounters[i].meeting);
    }
    phase.entries.push_back(std::move(entry));
  }
  return phase;
}

/// What pieces may cost more (their last tiles are fuller of nothing) than launches in turn, which load and store the state each time and end each
/// with idle multiprocessors.
constexpr double kCostOfTurns = 1.25;

std::vector<Phase> arranged(const std::vector<Encounter>& encounters, std::int32_t tile_rows) {
  std::vector<Phase> turns = phases_in_turn(encounters);
  if (turns.size() == 1) return turns;
  std::optional<Phase> pieces = phase_of_pieces(encounters);
  std::int64_t cost_of_turns = 0;
  for (const Phase& phase : turns) cost_of_turns += phase.cost(tile_rows);
  if (!pieces || static_cast<double>(pieces->cost(tile_rows)) > kCostOfTurns * static_cast<double>(cost_of_turns)) return turns;
  turns.clear();
  turns.push_back(std::move(*pieces));
  return turns;
}

class WorkListBuilder {
 public:
  WorkListBuilder(const Pattern& pattern, Owner owner, TileRows tile_rows) : pattern_(pattern), owner_(owner), tile_rows_(tile_rows) {}

  WorkList build(std::span<const ChunkPair> pairs) {
    const bool own_queries = owner_ == Owner::kQueries;
    const std::vector<Meetings> groups =
        own_queries ? group_pairs(pairs, &ChunkPair::queries, &ChunkPair::keys) : group_pairs(pairs, &ChunkPair::keys, &ChunkPair::queries);
    for (const HeadFamily& family : head_families(pattern_, owner_)) {
      std::vector<std::vector<Seed>> seeds;
      for (const Meetings& group : groups) add_group(family, group, seeds);
      for (std::size_t i = 0; i < seeds.size(); ++i) add_tiles(family, seeds[i], i);
    }
    for (const auto& launch : launches_) {
      list_.tiles.insert(list_.tiles.end(), launch.begin(), launch.end());
      list_.launch_ends.push_back(std::ssize(list_.tiles));
    }
    to_int32(std::ssize(list_.tiles), "tiles");
    to_int32(std::ssize(list_.extremes), "tiles of times");
    return std::move(list_);
  }

 private:
  /// A tile before it is dealt out to batch elements and heads.
  struct Seed {
    std::int32_t own_run, tile;
    std::int64_t cost;
  };

  void add_group(const HeadFamily& family, const Meetings& group, std::vector<std::vector<Seed>>& seeds) {
    std::vector<Encounter> encounters;
    for (const ChunkRows& other : group.others) {
      const ChunkRows& queries = owner_ == Owner::kQueries ? group.chunk : other;
      const ChunkRows& keys = owner_ == Owner::kQueries ? other : group.chunk;
      for (std::int64_t i = 0; i < pattern_.num_branches(); ++i) {
        for (std::size_t offset = 0; offset < family.query_heads.size(); ++offset) {
          add_blocks(family, i, offset, queries, keys, encounters);
        }
      }
    }
    std::vector<Phase> phases = arranged(encounters, tile_rows_.own);
    if (seeds.size() < phases.size()) seeds.resize(phases.size());
    for (std::size_t i = 0; i < phases.size(); ++i) {
      for (Phase::Entry& entry : phases[i].entries) add_own_run(group.chunk, entry, seeds[i]);
    }
  }

  void add_blocks(const HeadFamily& family, std::int64_t branch_index, std::size_t offset, const ChunkRows& queries, const ChunkRows& keys,
                  std::vector<Encounter>& encounters) {
    const Branch& branch = pattern_.branch(branch_index);
    const std::int64_t head = family.query_heads[offset];
    if (!branch.has_head(head)) return;
    blocks_.clear();
    branch.append_blocks(head, queries.positions, keys.positions, blocks_);
    for (const Block& block : blocks_) {
      if (block.queries.count == 0 || block.keys.count == 0) continue;
      const bool own_queries = owner_ == Owner::kQueries;
      Meeting meeting{.rows = own_queries ? run_of(keys, block.keys) : run_of(queries, block.queries)};
      meeting.head_offset = static_cast<std::int32_t>(offset);
      const std::int64_t num_pairs = block.all_pairs ? count_pairs(block) : add_mask(branch, head, block, meeting);
      // Without a pair there is nothing to read: rows that causality hides may not even have arrived.
      if (num_pairs == 0 && pattern_.causal() != Causal::kSequence) continue;
      if (pattern_.causal() == Causal::kSequence) {
        meeting.rows.first_extremes = extremes_of(meeting.rows, !own_queries);
      } else {
        list_.num_allowed_pairs += num_pairs * std::ssize(family.own_heads) * pattern_.shape().batch;
      }
      encounters.push_back({.own = own_queries ? block.queries : block.keys, .meeting = meeting});
    }
  }

  RowRun run_of(const ChunkRows& rows, const Run& run) {
    return {.first_row = rows.row_of(run.first).value,
            .first_position = run.first.value,
            .stride = run.stride,
            .count = to_int32(run.count, "rows of a chunk"),
            .stride_index = index_of_stride(run.stride)};
  }

  std::int32_t index_of_stride(std::int64_t stride) {
    const auto found = std::find(list_.strides.begin(), list_.strides.end(), stride);
    const auto index = static_cast<std::int32_t>(found - list_.strides.begin());
    if (found == list_.strides.end()) list_.strides.push_back(stride);
    return index;
  }

  std::int64_t count_pairs(const Block& block) const {
    return pattern_.causal() == Causal::kPosition ? count_causal_pairs(block.queries, block.keys) : block.queries.count * block.keys.count;
  }

  /// Asks the branch about every pair. Returns the number of allowed ones, with position causality (sequence causality is the device's).
  std::int64_t add_mask(const Branch& branch, std::int64_t head, const Block& block, Meeting& meeting) {
    const std::int64_t words_per_row = ceil_div(block.keys.count, kBitsPerWord);
    meeting.words_per_row = static_cast<std::int32_t>(words_per_row);
    meeting.first_word = std::ssize(list_.mask_words);
    list_.mask_words.resize(static_cast<std::size_t>(meeting.first_word + block.queries.count * words_per_row));
    std::int64_t num_allowed = 0;
    for (std::int64_t i = 0; i < block.queries.count; ++i) {
      for (std::int64_t j = 0; j < block.keys.count; ++j) {
        if (!branch.allows(head, block.queries[i], block.keys[j])) continue;
        const bool in_time = pattern_.causal() != Causal::kPosition || Pattern::causality_allows(block.queries[i].value, block.keys[j].value);
        num_allowed += in_time ? 1 : 0;
        list_.mask_words[static_cast<std::size_t>(meeting.first_word + i * words_per_row + j / kBitsPerWord)] |=
            std::uint32_t{1} << static_cast<unsigned>(j % kBitsPerWord);
      }
    }
    return num_allowed;
  }

  /// Index of the extremes of the run's first tile. Tiles of the other side are asked for once, however many runs they meet.
  std::int32_t extremes_of(const RowRun& rows, bool is_query) {
    const auto key = std::make_tuple(rows.first_row, rows.stride, rows.count);
    const auto [place, is_new] = extremes_at_.try_emplace(key, static_cast<std::int32_t>(list_.extremes.size()));
    if (is_new) append_extremes(rows, is_query, tile_rows_.other);
    return place->second;
  }

  void append_extremes(const RowRun& rows, bool is_query, std::int32_t tile_rows) {
    for (std::int32_t begin = 0; begin < rows.count; begin += tile_rows) {
      list_.extremes.push_back({.first_row = rows.first_row + begin * rows.stride,
                                .stride = rows.stride,
                                .count = std::min(tile_rows, rows.count - begin),
                                .is_query = is_query ? 1 : 0});
    }
  }

  void add_own_run(const ChunkRows& chunk, Phase::Entry& entry, std::vector<Seed>& seeds) {
    OwnRun own{.rows = run_of(chunk, entry.own)};
    own.first_meeting = to_int32(std::ssize(list_.meetings), "blocks");
    list_.meetings.insert(list_.meetings.end(), entry.meetings.begin(), entry.meetings.end());
    own.end_meeting = to_int32(std::ssize(list_.meetings), "blocks");
    if (pattern_.causal() == Causal::kSequence) {
      own.rows.first_extremes = static_cast<std::int32_t>(list_.extremes.size());
      append_extremes(own.rows, owner_ == Owner::kQueries, tile_rows_.own);
    }
    const std::int32_t index = to_int32(std::ssize(list_.own_runs), "runs");
    list_.own_runs.push_back(own);
    const auto num_tiles = static_cast<std::int32_t>(ceil_div(own.rows.count, tile_rows_.own));
    for (std::int32_t tile = 0; tile < num_tiles; ++tile) {
      seeds.push_back(
          {index, tile,
           cost_of(entry, Range<Position>{entry.own[tile * std::int64_t{tile_rows_.own}],
                                          entry.own[std::min<std::int64_t>((tile + 1) * std::int64_t{tile_rows_.own}, entry.own.count)]})});
    }
  }

  /// Other rows that the tile meets, about: whose times are unknown here count in full.
  std::int64_t cost_of(const Phase::Entry& entry, Range<Position> own) const {
    std::int64_t cost = 0;
    for (const Meeting& meeting : entry.meetings) {
      const RowRun& rows = meeting.rows;
      if (pattern_.causal() != Causal::kPosition) {
        cost += rows.count;
      } else if (owner_ == Owner::kQueries) {
        cost += std::clamp<std::int64_t>(ceil_div(own.end.value - rows.first_position, rows.stride), 0, rows.count);
      } else {
        cost += rows.count - std::clamp<std::int64_t>((own.begin.value - rows.first_position) / rows.stride, 0, rows.count);
      }
    }
    return cost;
  }

  /// As `TileRows::tiles_at_once` has it.
  void add_tiles(const HeadFamily& family, std::vector<Seed>& seeds, std::size_t launch) {
    if (launches_.size() <= launch) launches_.resize(launch + 1);
    std::stable_sort(seeds.begin(), seeds.end(), [](const Seed& a, const Seed& b) { return a.cost > b.cost; });
    const std::int64_t heads_at_once = ceil_div(tile_rows_.tiles_at_once, std::max<std::int64_t>(1, std::ssize(seeds)));
    for (std::int32_t batch = 0; batch < pattern_.shape().batch; ++batch) {
      for (std::int64_t first = 0; first < std::ssize(family.own_heads); first += heads_at_once) {
        const std::span<const std::int32_t> rest = std::span(family.own_heads).subspan(static_cast<std::size_t>(first));
        add_tiles_of(rest.first(std::min(rest.size(), static_cast<std::size_t>(heads_at_once))), batch, seeds, launches_[launch]);
      }
    }
  }

  static void add_tiles_of(std::span<const std::int32_t> heads, std::int32_t batch, const std::vector<Seed>& seeds, std::vector<WorkTile>& tiles) {
    for (auto begin = seeds.begin(); begin != seeds.end();) {
      const auto end = std::find_if(begin, seeds.end(), [&](const Seed& seed) { return seed.cost != begin->cost; });
      for (const std::int32_t head : heads) {
        for (auto seed = begin; seed != end; ++seed) tiles.push_back({.own_run = seed->own_run, .tile = seed->tile, .batch = batch, .head = head});
      }
      begin = end;
    }
  }

  const Pattern& pattern_;
  Owner owner_;
  TileRows tile_rows_;
  WorkList list_;
  std::vector<std::vector<WorkTile>> launches_;
  std::vector<Block> blocks_;
  std::map<std::tuple<std::int64_t, std::int64_t, std::int32_t>, std::int32_t> extremes_at_;
};

}  // namespace

WorkList make_work_list(const Pattern& pattern, std::span<const ChunkPair> pairs, Owner owner, TileRows tile_rows) {
  return WorkListBuilder(pattern, owner, tile_rows).build(pairs);
}

}  // namespace hilbertring
