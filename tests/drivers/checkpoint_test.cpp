// Runs that are stopped, and go on from their checkpoints.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "drivers/leg_planner.h"
#include "io/hdf5_handles.h"
#include "tests/drivers/program.h"

namespace hilbertring::test {
namespace {

/// Every leg is of one lag and is followed by a checkpoint: a run of about a hundred legs, long enough to be met in the middle.
const std::string kOften = " --backend cpu --checkpoint-every 0.00001";

void generate_case(const TemporaryDirectory& directory, const std::string& name = "c.h5", const std::string& words = "") {
  ASSERT_EQ(run_program(directory, "generate " + name +
                                       " --tokens 3000 --heads 4 --kv-heads 2 --head-dim 16 --gradient --chunk 64 --segment-lengths 700,3000"
                                       " --dilation-rates 1,4 --causal sequence --placement zigzag " +
                                       words)
                .status,
            0);
}

/// Of the case above.
void reverse_order(const std::string& path) {
  const FileHandle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
  const DatasetHandle dataset(H5Dopen2(file.get(), "order", H5P_DEFAULT));
  std::vector<std::int64_t> order(3000);
  ASSERT_GE(H5Dread(dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, order.data()), 0);
  std::reverse(order.begin(), order.end());
  ASSERT_GE(H5Dwrite(dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, order.data()), 0);
}

/// Starts `launcher hilbertring run c.h5 -o r.h5 ...`, sends the signal to the program's processes as soon as a checkpoint of the pass is there, and
/// returns the run's status as what the line printed last.
Outcome stop_in(const TemporaryDirectory& directory, const std::string& pass, const std::string& signal, const std::string& launch,
                const std::string& words) {
  const std::string run = std::string(kProgram) + " run c.h5 -o r.h5" + words;
  return run_shell(directory, launch + " run c.h5 -o r.h5" + words + " >run.log 2>&1 & run=$!; until grep -aqs '\"pass\":\"" + pass +
                                  "\"' r.h5.checkpoint || ! kill -0 $run; do sleep 0.01; done; pkill -" + signal + " -f -- '^" + run +
                                  "'; wait $run; echo status $?; grep hilbertring: run.log");
}

void expect_same_bits(const TemporaryDirectory& directory) {
  const Outcome outcome = run_program(directory, "verify one.h5 r.h5 --bits");
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
}

class Checkpoints : public testing::Test {
 protected:
  void SetUp() override {
    generate_case(directory);
    ASSERT_EQ(run_program(directory, "run c.h5 -o one.h5 --backend cpu").status, 0);
  }
  /// A run that was stopped in a pass and has left two checkpoints.
  void stop(const std::string& pass) {
    const Outcome outcome = stop_in(directory, pass, "USR1", kProgram, kOften);
    ASSERT_TRUE(outcome.says("status 5")) << outcome.out << outcome.err;
    ASSERT_TRUE(exists("r.h5.checkpoint") && exists("r.h5.checkpoint-old"));
  }
  bool exists(const std::string& name) const { return std::filesystem::exists(directory.file(name)); }

  TemporaryDirectory directory;
};

TEST_F(Checkpoints, AStoppedRunGoesOnWithTheSameBitsOnAnotherNumberOfRanks) {
  for (const auto& [pass, signal, ranks] : {std::tuple("forward", "USR1", 3), {"backward", "TERM", 4}}) {
    const Outcome stopped = stop_in(directory, pass, signal, kProgram, kOften + " --ranks 2");
    ASSERT_TRUE(stopped.says("status 5")) << stopped.out << stopped.err;
    EXPECT_TRUE(stopped.says("run --resume goes on from it")) << stopped.out;
    EXPECT_FALSE(exists("r.h5") || exists(".r.h5.partial"));

    const Outcome resumed = run_program(directory, "run c.h5 -o r.h5 --backend cpu --resume --ranks " + std::to_string(ranks));

    ASSERT_EQ(resumed.status, 0) << resumed.err;
    EXPECT_TRUE(resumed.says(std::string("of the ") + pass + " pass comes next")) << resumed.out;
    expect_same_bits(directory);
    EXPECT_FALSE(exists("r.h5.checkpoint") || exists("r.h5.checkpoint-old"));
    std::filesystem::remove(directory.file("r.h5"));
  }
}

TEST_F(Checkpoints, MpiRanksStopTogether) {
  const Outcome stopped = stop_in(directory, "forward", "USR1", launch_line(3), kOften);
  ASSERT_TRUE(stopped.says("status 5")) << stopped.out << stopped.err;

  const Outcome resumed = run_program_on(2, directory, "run c.h5 -o r.h5 --resume" + kOften);

  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_TRUE(resumed.says("checkpoints")) << resumed.out;
  expect_same_bits(directory);
}

TEST_F(Checkpoints, TheOlderOneIsUsedWhereTheNewestIsDamaged) {
  // In a tensor; in what the checkpoint says of itself, which would else be taken for another run's; at the end.
  for (const std::string damage : {"printf x | dd of=r.h5.checkpoint bs=1 seek=100000 conv=notrunc",
                                   "LC_ALL=C sed -i 's/inputs\":\"q/inputs\":\"p/' r.h5.checkpoint", "truncate -s 5000 r.h5.checkpoint"}) {
    stop("backward");
    ASSERT_EQ(run_shell(directory, damage).status, 0);

    const Outcome resumed = run_program(directory, "run c.h5 -o r.h5 --backend cpu --resume");

    ASSERT_EQ(resumed.status, 0) << resumed.err;
    EXPECT_TRUE(resumed.says("checkpoint left out: ")) << resumed.out;
    EXPECT_TRUE(resumed.says("resume   r.h5.checkpoint-old")) << resumed.out;
    expect_same_bits(directory);
    std::filesystem::remove(directory.file("r.h5"));
  }
}

TEST_F(Checkpoints, AreRefusedWhereNoneIsWhole) {
  stop("forward");
  ASSERT_EQ(run_shell(directory, "truncate -s 5000 r.h5.checkpoint; truncate -s 0 r.h5.checkpoint-old").status, 0);

  expect_refusal(run_program(directory, "run c.h5 -o r.h5 --backend cpu --resume"), 3, "no checkpoint of 'r.h5' is whole");
  EXPECT_FALSE(exists("r.h5"));
}

TEST_F(Checkpoints, AreRefusedForAnotherRun) {
  stop("forward");
  generate_case(directory, "other.h5", "--seed 7");

  expect_refusal(run_program(directory, "run c.h5 -o r.h5 --backend cpu --resume --causal none"), 2, "is of another run: its specification");
  expect_refusal(run_program(directory, "run other.h5 -o r.h5 --backend cpu --resume"), 2, "is of another run: its inputs");
  expect_refusal(run_program(directory, "run c.h5 -o r.h5 --backend cpu --resume --no-gradient"), 2, "is of another run: its with_gradient");
}

TEST_F(Checkpoints, AreRefusedForAnotherOrderOfTheSameTokens) {
  generate_case(directory, "c.h5", "--force --curve file");
  stop("forward");
  reverse_order(directory.file("c.h5"));

  expect_refusal(run_program(directory, "run c.h5 -o r.h5 --backend cpu --resume"), 2, "is of another run: its inputs");
}

TEST_F(Checkpoints, OptionsThatCannotBeAreRefused) {
  expect_refusal(run_program(directory, "run c.h5 -o r.h5 --checkpoint-every 0"), 2, "--checkpoint-every is '0', but must be minutes above 0");
  expect_refusal(run_program(directory, "run c.h5 -o r.h5 --checkpoint-every 5m"), 2, "--checkpoint-every is '5m'");
  expect_refusal(run_program(directory, "run c.h5 -o r.h5 --resume --checkpoint-dir none"), 2, "--checkpoint-dir is 'none'");
}

TEST_F(Checkpoints, LieWhereTheyAreToldTo) {
  std::filesystem::create_directory(directory.file("kept"));

  ASSERT_EQ(run_program(directory, "run c.h5 -o r.h5 --resume --checkpoint-dir kept" + kOften).status, 0);

  EXPECT_FALSE(exists("r.h5.checkpoint"));
  EXPECT_TRUE(std::filesystem::is_empty(directory.file("kept")));
  expect_same_bits(directory);
}

TEST(LegPlanner, LegsTakeTheTimeAskedForAndGrowSlowly) {
  LegPlanner planner(2.0);
  EXPECT_EQ(planner.num_lags(), 1);

  planner.note(1, 0.001);
  EXPECT_EQ(planner.num_lags(), 4);
  planner.note(4, 0.8);
  EXPECT_EQ(planner.num_lags(), 10);
  planner.note(10, 20.0);
  EXPECT_EQ(planner.num_lags(), 1);
  planner.note(1, 100.0);
  EXPECT_EQ(planner.num_lags(), 1);
}

}  // namespace
}  // namespace hilbertring::test
