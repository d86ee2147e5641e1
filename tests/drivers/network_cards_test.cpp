#include "drivers/network_cards.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "core/error.h"

namespace hilbertring::test {
namespace {

TEST(NetworkCards, RanksOfANodeTakeThemInTurn) {
  EXPECT_EQ(card_of_rank("mlx5_0,mlx5_2", 0), "mlx5_0");
  EXPECT_EQ(card_of_rank("mlx5_0,mlx5_2", 1), "mlx5_2");
  EXPECT_EQ(card_of_rank("mlx5_0,mlx5_2", 2), "mlx5_0");
  EXPECT_EQ(card_of_rank("ib-0.a:2", 5), "ib-0.a:2");
}

TEST(NetworkCards, NamesThatNoCardHasAreRefused) {
  for (const char* cards : {"", ",", "mlx5_0,", ",mlx5_0", "mlx5_0 mlx5_1", "a;b"}) EXPECT_THROW(card_of_rank(cards, 0), Error) << cards;
}

/// Variables of this process, gone when a test ends.
class NetworkCardVariables : public ::testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }

  static void clear() {
    for (const char* name : {"HILBERTRING_NICS", "UCX_NET_DEVICES", "NCCL_IB_HCA", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"}) unsetenv(name);
  }
  static std::string value(const char* name) {
    const char* const text = std::getenv(name);
    return text == nullptr ? "unset" : text;
  }
};

TEST_F(NetworkCardVariables, WithoutAListNothingIsSet) {
  choose_network_card();

  EXPECT_EQ(value("UCX_NET_DEVICES"), "unset");
  EXPECT_EQ(value("NCCL_IB_HCA"), "unset");
  EXPECT_NO_THROW(check_network_cards());
}

TEST_F(NetworkCardVariables, TheLaunchersNumberDecides) {
  setenv("HILBERTRING_NICS", "mlx5_0,mlx5_1", 1);
  setenv("SLURM_LOCALID", "0", 1);
  setenv("OMPI_COMM_WORLD_LOCAL_RANK", "3", 1);

  choose_network_card();

  EXPECT_EQ(value("UCX_NET_DEVICES"), "mlx5_1:1");
  EXPECT_EQ(value("NCCL_IB_HCA"), "=mlx5_1");
}

TEST_F(NetworkCardVariables, WhatIsSetAlreadyStays) {
  setenv("HILBERTRING_NICS", "mlx5_0:2", 1);
  setenv("NCCL_IB_HCA", "mlx5_7", 1);

  choose_network_card();

  EXPECT_EQ(value("UCX_NET_DEVICES"), "mlx5_0:2");
  EXPECT_EQ(value("NCCL_IB_HCA"), "mlx5_7");
}

TEST_F(NetworkCardVariables, ABadListIsSaidLater) {
  setenv("HILBERTRING_NICS", "mlx5_0,,", 1);

  EXPECT_NO_THROW(choose_network_card());

  EXPECT_EQ(value("UCX_NET_DEVICES"), "unset");
  EXPECT_THROW(check_network_cards(), Error);
}

}  // namespace
}  // namespace hilbertring::test
