#include "drivers/network_cards.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <sstream>
#include <vector>

#include "core/error.h"

namespace hilbertring {

namespace {

constexpr const char* kVariable = "HILBERTRING_NICS";

bool is_card(const std::string& name) {
  return !name.empty() &&
         std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.' || c == ':'; });
}

/// As the launchers tell it before MPI does: mpirun, else srun.
int rank_on_node() {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"}) {
    if (const char* const text = std::getenv(name)) return std::max(std::atoi(text), 0);
  }
  return 0;
}

}  // namespace

std::string card_of_rank(const std::string& cards, int rank_on_node) {
  std::vector<std::string> names;
  std::istringstream list(cards + ",");
  for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  if (!std::ranges::all_of(names, is_card)) {
    throw usage_error(std::string(kVariable) + " is '" + cards +
                      "', but must be names of network cards with commas between them, such as mlx5_0,mlx5_1");
  }
  return names[static_cast<std::size_t>(rank_on_node) % names.size()];
}

void choose_network_card() {
  const char* const cards = std::getenv(kVariable);
  if (cards == nullptr) return;
  try {
    const std::string card = card_of_rank(cards, rank_on_node());
    ::setenv("UCX_NET_DEVICES", (card.find(':') == std::string::npos ? card + ":1" : card).c_str(), 0);
    ::setenv("NCCL_IB_HCA", ("=" + card).c_str(), 0);
  } catch (const Error&) {  // said when there is MPI to say it on one rank
  }
}

void check_network_cards() {
  if (const char* const cards = std::getenv(kVariable)) card_of_rank(cards, 0);
}

}  // namespace hilbertring
