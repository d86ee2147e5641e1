#include "tests/drivers/program.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace hilbertring::test {
namespace {

TEST(Program, HelpNamesEveryCommandAndEveryStatus) {
  const TemporaryDirectory directory;

  const Outcome outcome = run_program(directory, "--help");

  EXPECT_EQ(outcome.status, 0);
  for (const std::string part : {"generate", "run", "verify", "info", "plan", "calibrate", "bench", "suite", "1 verification missed", "4 failure"})
    EXPECT_TRUE(outcome.says(part)) << part;
}

TEST(Program, HelpOfEveryCommandHasAnExample) {
  const TemporaryDirectory directory;
  for (const std::string command : {"generate", "run", "verify", "info", "plan", "calibrate", "bench", "suite"}) {
    const Outcome outcome = run_program(directory, command + " --help");

    EXPECT_EQ(outcome.status, 0) << command;
    EXPECT_TRUE(outcome.says("Example:\n  ")) << command;
    EXPECT_TRUE(outcome.says("hilbertring " + command + " ")) << command;
    EXPECT_TRUE(outcome.says("--config")) << command;
  }
}

TEST(Program, VersionNamesBuildAndLibraries) {
  const TemporaryDirectory directory;

  const Outcome outcome = run_program(directory, "--version");

  EXPECT_EQ(outcome.status, 0);
  for (const std::string part : {"hilbertring 0", "build", "MPI", "HDF5", "Highway", "Boost"}) EXPECT_TRUE(outcome.says(part)) << part;
}

TEST(Program, ConfigFileTakesTheOptionsOfTheCommandLine) {
  const TemporaryDirectory directory;
  std::ofstream(directory.file("small.conf")) << "# a small case\ntokens = 64\nheads = 2\nhead-dim = 8\npreset = dense\ngradient = true\nseed = 1\n";

  const Outcome outcome = run_program(directory, "generate c.h5 --config small.conf --seed 7");

  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(outcome.says("N=64 H=2 G=2 D=8 float32, seed 7")) << outcome.out;
  EXPECT_TRUE(run_program(directory, "info c.h5").says("/do"));
}

TEST(Program, ConfigFileWithAMisspeltKeyIsRefused) {
  const TemporaryDirectory directory;
  std::ofstream(directory.file("bad.conf")) << "tokns = 64\n";

  const Outcome outcome = run_program(directory, "generate c.h5 --config bad.conf");

  expect_refusal(outcome, 2, "config file 'bad.conf': unknown option 'tokns'; did you mean 'tokens'?");
  expect_refusal(run_program(directory, "generate c.h5 --config none.conf"), 2, "cannot read the config file 'none.conf'");
}

TEST(Program, RunPrintsPlanTimesPairsBytesAndMemory) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");

  const Outcome outcome = run_program(directory, "run c.h5 -o r.h5 --ranks 3");

  EXPECT_EQ(outcome.status, 0) << outcome.err;
  for (const std::string part :
       {"pattern", "order", "chunks", "a dense ring sends", "allowed pairs", "GFLOP/s", "bytes sent", "bytes predicted", "memory", "wrote r.h5"}) {
    EXPECT_TRUE(outcome.says(part)) << "no \"" << part << "\" in:\n" << outcome.out;
  }
  EXPECT_EQ(outcome.err, "") << "no progress bar where nobody looks";
}

TEST(Program, RecordIsOneJsonLineWithPredictedBytesEqualToSentBytes) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");

  ASSERT_EQ(run_program(directory, "run c.h5 -o r.h5 --ranks 4 --record runs.json").status, 0);
  ASSERT_EQ(run_program(directory, "run c.h5 -o r.h5 --ranks 2 --record runs.json --force").status, 0);

  std::ifstream file(directory.file("runs.json"));
  for (const int ranks : {4, 2}) {
    std::string line;
    ASSERT_TRUE(std::getline(file, line));
    const auto record = nlohmann::json::parse(line);
    EXPECT_EQ(record["ranks"], ranks);
    EXPECT_EQ(record["backward"]["sent_bytes"], record["backward"]["predicted_bytes"]);
    EXPECT_GT(record["forward"]["sent_bytes"], 0);
    EXPECT_GT(record["forward"]["allowed_pairs"], 0);
    EXPECT_EQ(record["spec"]["chunk"], 50);
  }
}

TEST(Program, InfoShowsSpecificationShardsLocalityAttributesAndChecksums) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");
  ASSERT_EQ(run_program(directory, "run c.h5 -o r.h5").status, 0);

  const Outcome outcome = run_program(directory, "info r.h5 --ranks 4");

  EXPECT_EQ(outcome.status, 0) << outcome.err;
  for (const std::string part : {"w=100 r=1, w=400 r=4", "hilbert over 600 tokens on a 19 x 32 grid", "sha256 ok", "shards on 4 ranks", "locality",
                                 "transport", "loopback", "program_version"}) {
    EXPECT_TRUE(outcome.says(part)) << "no \"" << part << "\" in:\n" << outcome.out;
  }
}

TEST(Program, InfoFindsDataThatChanged) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");
  const auto size = static_cast<std::streamoff>(std::filesystem::file_size(directory.file("c.h5")));
  std::fstream file(directory.file("c.h5"), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(size / 2);
  file.write("\x55\x55\x55\x55", 4);
  file.close();

  const Outcome outcome = run_program(directory, "info c.h5");

  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(outcome.says("sha256 MISMATCH")) << outcome.out;
}

TEST(Program, PlanTellsTrafficMemoryAndBalanceWithoutAFile) {
  const TemporaryDirectory directory;

  const Outcome outcome =
      run_program(directory, "plan --tokens 65536 --heads 8 --head-dim 64 --ranks 8 --causal position --preset dense --gradient --placement zigzag");

  EXPECT_EQ(outcome.status, 0) << outcome.err;
  for (const std::string part : {"forward, ", "backward, ", "a dense ring sends", "memory", "balance"})
    EXPECT_TRUE(outcome.says(part)) << outcome.out;
}

TEST(Program, PlanChecksMemory) {
  const TemporaryDirectory directory;
  const std::string words = "plan --tokens 65536 --heads 8 --head-dim 64 --preset dense --check-memory ";

  expect_refusal(run_program(directory, words + "1MiB"), 4, "--check-memory allows 1.00 MiB");
  EXPECT_EQ(run_program(directory, words + "64GiB").status, 0);
}

TEST(Program, PlanTellsWhatAGpuMustHold) {
  const TemporaryDirectory directory;
  const std::string words = "plan --tokens 1048576 --heads 16 --head-dim 128 --type bfloat16 --ranks 2 --gradient --preset longnet ";

  // Measured on two GPUs: 26.1 GiB each.
  EXPECT_TRUE(run_program(directory, words + "--backend cuda --check-gpu-memory 27GiB").says("on its GPU  26.1 GiB"));
  expect_refusal(run_program(directory, words + "--backend cuda --check-gpu-memory 26GiB"), 4, "--check-gpu-memory allows 26.0 GiB");
  expect_refusal(run_program(directory, words + "--check-gpu-memory 27GiB"), 2, "--check-gpu-memory needs --backend cuda");
  expect_refusal(run_program(directory, words + "--backend gpu"), 2, "must be one of auto, cpu, cuda");
}

TEST(Program, ZigzagBalancesCausalWork) {
  const TemporaryDirectory directory;
  const std::string words = "plan --tokens 8192 --heads 1 --head-dim 8 --ranks 4 --preset dense --causal sequence --placement ";

  EXPECT_TRUE(run_program(directory, words + "zigzag").says("balance (most / average) 1\n"));
  EXPECT_TRUE(run_program(directory, words + "contiguous").says("balance (most / average) 1.75\n"));
}

}  // namespace
}  // namespace hilbertring::test
