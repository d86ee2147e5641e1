#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/drivers/program.h"

namespace hilbertring::test {
namespace {

TEST(PlanCheck, SaysInOneLineThatARunWouldBegin) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");

  const Outcome outcome = run_program(directory, "plan c.h5 --check --ranks 4");

  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 1) << outcome.out;
  EXPECT_TRUE(outcome.says("c.h5: B=1 N=600 H=4 G=2 D=16 float32, forward and backward: good on 4 ranks, at most ")) << outcome.out;
}

TEST(PlanCheck, PlansACaseWithTheOptionsOfRun) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");

  const Outcome outcome = run_program(directory, "plan c.h5 --ranks 4 --causal position --no-gradient");

  EXPECT_EQ(outcome.status, 0) << outcome.err;
  for (const std::string part :
       {"case     c.h5: B=1 N=600 H=4 G=2 D=16 float32, forward\n", "w=100 r=1, w=400 r=4", "causal by position", "forward, KV up"}) {
    EXPECT_TRUE(outcome.says(part)) << part << " in " << outcome.out;
  }
}

TEST(PlanCheck, PlansTheRotationThatIsAskedFor) {
  const TemporaryDirectory directory;
  const std::string plan = "plan --tokens 600 --heads 2 --head-dim 8 --preset dense --chunk 50 --gradient --ranks 4 --rotation ";

  EXPECT_TRUE(run_program(directory, plan + "auto").says("backward, Q down"));
  EXPECT_TRUE(run_program(directory, plan + "queries").says("backward, Q down"));
  EXPECT_TRUE(run_program(directory, plan + "kv").says("backward, KV up"));
}

TEST(PlanCheck, TakesTheWordsOfRun) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");
  const std::string words = " --output-type float64 --record r.json --force --checkpoint-every 5 --resume --memory-limit 1GiB --backend auto";

  EXPECT_EQ(run_program(directory, "plan c.h5 --check --ranks 2" + words).status, 0);
  EXPECT_FALSE(std::filesystem::exists(directory.file("r.json")));
  expect_refusal(run_program(directory, "plan c.h5 --ranks 2 --record r.json"), 2,
                 "--record is an option of run, which plan takes with --check only");
}

TEST(PlanCheck, RefusesWhatRunWouldWithItsStatus) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");
  RawCase without_k;
  without_k.datasets.erase("k");
  without_k.write(directory.file("k.h5"));
  const std::string check = "plan c.h5 --check ";

  expect_refusal(run_program(directory, check + "--ranks 13"), 2, "too many ranks: 13 ranks");
  expect_refusal(run_program(directory, check + "--dilation-rates 1,500"), 2, "dilation_rates[1] is 500");
  expect_refusal(run_program(directory, check + "--output-type float23"), 2, "unknown type 'float23'");
  expect_refusal(run_program(directory, check + "--backend gpu"), 2, "must be one of auto, cpu, cuda");
  expect_refusal(run_program(directory, check + "--tokens 600"), 2, "--tokens is given, but c.h5 says that itself");
  expect_refusal(run_program(directory, check + "--curve file"), 3, "c.h5: '/order' is missing");
  expect_refusal(run_program(directory, "plan none.h5 --check"), 3, "none.h5: can't be read");
  expect_refusal(run_program(directory, "plan k.h5 --check"), 3, "'/k'");
  expect_refusal(run_program(directory, check + "--check-memory 10KiB"), 4, "not enough memory: rank 0 needs ");
  expect_refusal(run_program(directory, check + "--backend cpu --memory-limit 10KiB"), 4, "--memory-limit allows 10.0 KiB");
  EXPECT_EQ(run_program(directory, check + "--memory-limit 10KiB").status, 0) << "a GPU's host may need less";
  expect_refusal(run_program(directory, check + "--gpus 1 --check-gpu-memory 10KiB"), 4, "not enough GPU memory");
  expect_refusal(run_program_on(2, directory, check), 2, "plan runs in one process");
}

TEST(PlanCheck, WantsAGpuForEachRank) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");
  const std::string check = "plan c.h5 --check --ranks 4 ";

  expect_refusal(run_program(directory, check + "--gpus 1"), 2, "4 ranks and one GPU: each rank needs one GPU of its own");
  expect_refusal(run_program(directory, check + "--gpus 8"), 2, "4 ranks and 8 GPUs: each rank needs one GPU of its own");
  EXPECT_EQ(run_program(directory, check + "--gpus 0").status, 0);
  EXPECT_EQ(run_program(directory, check + "--gpus 1 --share-gpus").status, 0);
  const Outcome good = run_program(directory, check + "--gpus 4");
  EXPECT_TRUE(good.says(" on its GPU")) << good.out;
}

TEST(PlanCheck, RefusesAPatternThatAllowsNothing) {
  const TemporaryDirectory directory;
  RawCase raw;
  // The only key is the sequence's last token; the only query its first.
  const std::vector<std::int64_t> order = {11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
  raw.datasets["order"] = {{12}, [] { return copy_of(H5T_STD_I64LE); }};
  raw.datasets["order"].bytes.resize(12 * 8);
  std::memcpy(raw.datasets["order"].bytes.data(), order.data(), 12 * 8);
  raw.spec = R"({"segment_lengths": [12], "dilation_rates": [12], "curve": "file", "curve_on": "kv", "causal": "sequence"})";
  raw.write(directory.file("c.h5"));

  expect_refusal(run_program(directory, "plan c.h5 --check"), 2, "the pattern allows no query to attend to any key: w=12 r=12");
  EXPECT_EQ(run_program(directory, "plan c.h5 --check --causal none").status, 0);
}

}  // namespace
}  // namespace hilbertring::test
