#pragma once

#include <string>

namespace hilbertring {

/// UCX and NCCL find the card nearest to a rank by themselves; where they must be told, the variable HILBERTRING_NICS names a node's cards in the
/// order of its ranks: "mlx5_0,mlx5_1", each with or without a port ("mlx5_0:2", else UCX takes port 1). Rank k of a node takes number k, and begins
/// again when there are fewer cards.

/// The card of a rank. Throws usage_error, with the list and the rule, if a name is empty or has characters that no name has.
std::string card_of_rank(const std::string& cards, int rank_on_node);

/// Sets UCX_NET_DEVICES and NCCL_IB_HCA, unless they are set, as HILBERTRING_NICS says. For MPI_Init, hence before it; what is wrong with the
/// variable is said later, by check_network_cards().
void choose_network_card();
/// Throws what card_of_rank() throws for HILBERTRING_NICS.
void check_network_cards();

}  // namespace hilbertring
