#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "tests/drivers/program.h"

namespace hilbertring::test {
namespace {

const std::string kSmall = "bench --heads 4 --kv-heads 2 --head-dim 16 --repeats 3 --verify-rows 10 --threads 1 ";

std::vector<nlohmann::json> records_of(const TemporaryDirectory& directory, const std::string& name) {
  std::vector<nlohmann::json> records;
  std::ifstream file(directory.file(name));
  for (std::string line; std::getline(file, line);) records.push_back(nlohmann::json::parse(line));
  return records;
}

TEST(Bench, MeasuresEachSizeWithEachPreset) {
  const TemporaryDirectory directory;

  const Outcome outcome = run_program(directory, kSmall + "--sizes 512,1024 --presets dense,longnet --ranks 3 --chunk 64 --record b.json");

  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  EXPECT_EQ(outcome.err, "") << "no progress bar where nobody looks";
  for (const std::string part : {"3 ranks (loopback), one thread each", "checked in float64", "compute alone", "transfers alone", "hidden"}) {
    EXPECT_TRUE(outcome.says(part)) << "no \"" << part << "\" in:\n" << outcome.out;
  }
  const auto records = records_of(directory, "b.json");
  ASSERT_EQ(records.size(), 4U);
  EXPECT_EQ(records[1]["pattern"], "longnet");
  EXPECT_EQ(records[2]["shape"]["tokens"], 1024);
}

TEST(Bench, ARecordThatCantBeWrittenIsSaidBeforeAnythingIsMeasured) {
  const TemporaryDirectory directory;

  const Outcome outcome = run_program(directory, kSmall + "--sizes 512 --presets dense --record no/such/b.json");

  expect_refusal(outcome, 4, "no/such/b.json");
  EXPECT_EQ(outcome.out, "");
}

TEST(Bench, RecordsBytesAndMemoryAsPredictedAndEveryRepeat) {
  const TemporaryDirectory directory;

  const Outcome outcome = run_program(
      directory, kSmall + "--tokens 600 --segment-lengths 100,400 --dilation-rates 1,4 --chunk 50 --causal sequence --ranks 4 --record b.json");

  ASSERT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  const auto record = records_of(directory, "b.json").at(0);
  EXPECT_EQ(record["peak_bytes"], record["predicted_peak_bytes"]);
  for (const std::string pass : {"forward", "backward"}) {
    EXPECT_GT(record[pass]["sent_bytes"], 0);
    EXPECT_EQ(record[pass]["sent_bytes"], record[pass]["predicted_bytes"]);
    EXPECT_GE(record[pass]["dense_ring_bytes"], record[pass]["sent_bytes"]);
    EXPECT_GT(record[pass]["allowed_pairs"], 0);
    EXPECT_GT(record[pass]["ring_step"]["median_seconds"], 0);
    EXPECT_LT(record[pass]["ring_step"]["median_seconds"], record[pass]["ring"]["median_seconds"]);
    EXPECT_GT(record[pass]["balance"], 0);
    EXPECT_LE(record[pass]["balance"], 1);
    for (const std::string way : {"ring", "ring_step", "compute_alone", "transfers_alone"}) EXPECT_EQ(record[pass][way]["seconds"].size(), 3U) << way;
  }
  for (const std::string tensor : {"o", "lse", "dq", "dk", "dv"}) EXPECT_LE(record["checked"]["worst_of_bound"][tensor], 1) << tensor;
}

TEST(Bench, RecordSaysWhatItIsOfAndWhere) {
  const TemporaryDirectory directory;

  const Outcome outcome = run_program_on(
      2, directory, kSmall + "--tokens 1024 --preset longnet --segment-lengths 64 --dilation-rates 1 --curve hilbert --label 'a, b' --record b.json");

  ASSERT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  const auto record = records_of(directory, "b.json").at(0);
  EXPECT_EQ(record["record_version"], 1);
  EXPECT_EQ(record["label"], "a, b");
  EXPECT_EQ(record["nodes"], 1);
  EXPECT_EQ(record["ranks"], 2);
  EXPECT_EQ(record["backend"], "cpu");
  // 32 x 32 cells in squares of 8 x 8: of 32 x 31 pairs of neighbours along a side, 32 x 28 lie within a square.
  EXPECT_DOUBLE_EQ(record["neighbours"]["share"], 28 / 31.0);
  EXPECT_EQ(record["neighbours"]["is_sampled"], false);
}

TEST(Bench, TurnsWhatIsAskedFor) {
  const TemporaryDirectory directory;

  for (const std::string rotation : {"kv", "queries"}) {
    ASSERT_EQ(run_program(directory, kSmall + "--tokens 600 --preset dense --chunk 50 --ranks 3 --record b.json --rotation " + rotation).status, 0);
  }

  const auto records = records_of(directory, "b.json");
  EXPECT_EQ(records.at(0)["backward"]["rotation"], "KV up");
  EXPECT_EQ(records.at(1)["backward"]["rotation"], "Q down");
  EXPECT_NE(records.at(0)["backward"]["sent_bytes"], records.at(1)["backward"]["sent_bytes"]);
}

TEST(Bench, ForwardAloneOnOneRankSendsNothing) {
  const TemporaryDirectory directory;

  const Outcome outcome = run_program(directory, kSmall + "--tokens 300 --preset dense --no-gradient --warmup 0 --type float16 --record b.json");

  ASSERT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  const auto record = records_of(directory, "b.json").at(0);
  EXPECT_FALSE(record.contains("backward"));
  EXPECT_EQ(record["forward"]["sent_bytes"], 0);
  EXPECT_TRUE(record["forward"]["hidden_share"].is_null());
  EXPECT_TRUE(record["forward"]["balance"].is_null());
  EXPECT_EQ(record["forward"]["ring_step"]["median_seconds"], 0);
}

TEST(Bench, RunsOnMpiRanks) {
  const TemporaryDirectory directory;

  const Outcome outcome = run_program_on(2, directory, kSmall + "--tokens 600 --presets dense,hilbert-core --chunk 50");

  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  EXPECT_TRUE(outcome.says("2 ranks (mpi), one thread each")) << outcome.out;
}

TEST(Bench, BadInputIsOneLineBeforeAnythingIsMeasured) {
  const TemporaryDirectory directory;
  const std::string bare = "bench --heads 4 --head-dim 16 --tokens 300 --preset dense ";

  expect_refusal(run_program(directory, kSmall + "--preset dense"), 2, "bench needs --tokens");
  expect_refusal(run_program(directory, kSmall + "--tokens 300"), 2, "bench needs a pattern");
  expect_refusal(run_program(directory, kSmall + "--sizes 300,x --preset dense"), 2, "--sizes is 'x'");
  expect_refusal(run_program(directory, kSmall + "--sizes 300,,600 --preset dense"), 2, "--sizes is '300,,600'");
  expect_refusal(run_program(directory, kSmall + "--sizes 300 --tokens 300 --preset dense"), 2, "--tokens or --sizes, not both");
  expect_refusal(run_program(directory, kSmall + "--tokens 300 --presets dense,longnt"), 2, "did you mean 'longnet'?");
  expect_refusal(run_program(directory, kSmall + "--tokens 300 --preset dense --curve file"), 2, "bench reads no case file");
  expect_refusal(run_program(directory, bare + "--verify-rows 0"), 2, "--verify-rows is '0'");
  expect_refusal(run_program(directory, bare + "--label x"), 2, "--label with --record only");
  expect_refusal(run_program(directory, bare + "--record b.json --label ''"), 2, "--label is ''");
  expect_refusal(run_program(directory, bare + "--repeats 0"), 2, "--repeats is '0'");
  expect_refusal(run_program(directory, kSmall + "--tokens 300 --preset dense --memory-limit 1KiB"), 4, "--memory-limit allows 1.00 KiB");
}

}  // namespace
}  // namespace hilbertring::test
