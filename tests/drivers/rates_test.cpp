#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/drivers/program.h"

namespace hilbertring::test {
namespace {

const std::string kShape = " --heads 2 --head-dim 16 --threads 1 ";
const std::string kCalibrate = "calibrate -o rates.json --tokens-per-rank 256 --repeats 2" + kShape;
const std::string kPlan = "plan --tokens 1024 --ranks 2 --preset dense --gradient" + kShape;
const std::string kBench = "bench --tokens 1024 --preset dense --repeats 2" + kShape;

nlohmann::json json_of(const TemporaryDirectory& directory, const std::string& name) {
  return nlohmann::json::parse(std::ifstream(directory.file(name)));
}

/// Rates for kPlan and kBench that nobody measured.
nlohmann::json made_up_rates() {
  const nlohmann::json folds = {
      {"pairs_per_second", {{"whole", 1e6}, {"cut", 1e6}, {"dilated", 1e6}}}, {"seconds_per_fold", 0}, {"seconds_per_row", 0}};
  return {{"format", "hilbertring-rates"},
          {"version", 1},
          {"backend", "cpu"},
          {"type", "float32"},
          {"head_dim", 16},
          {"threads_per_rank", 1},
          {"ranks_per_node", 2},
          {"forward", folds},
          {"backward", folds},
          {"overlap", 1},
          {"links", {{"within_node", {{"bytes_per_second", 1e9}, {"seconds_per_message", 1e-6}}}}}};
}

void write_rates(const TemporaryDirectory& directory, const nlohmann::json& rates) { std::ofstream(directory.file("rates.json")) << rates.dump(2); }

/// Everything that the program left in the directory, besides what these tests put there.
bool has_partial_file(const TemporaryDirectory& directory) { return std::filesystem::exists(directory.file(".rates.json.partial")); }

/// What the record of a benchmark says of a pass, printed beside the prediction: the model's error on this machine, whatever else it does meanwhile.
void expect_some_prediction(const nlohmann::json& record, const std::string& pass) {
  const double predicted = record.at(pass).at("predicted_ms").get<double>();
  const double measured = 1e3 * record.at(pass).at("ring").at("median_seconds").get<double>();
  std::printf("%s: predicted %.3f ms, measured %.3f ms, error %+.0f %%\n", pass.c_str(), predicted, measured, 100 * (predicted / measured - 1));
  EXPECT_GT(predicted, measured / 1000);
  EXPECT_LT(predicted, measured * 1000);
}

TEST(Rates, AreWrittenByCalibrateAndReadByPlanAndBench) {
  const TemporaryDirectory directory;

  const Outcome calibrated = run_program(directory, kCalibrate + "--ranks 2");

  ASSERT_EQ(calibrated.status, 0) << calibrated.err;
  EXPECT_TRUE(calibrated.says("wrote rates.json")) << calibrated.out;
  EXPECT_FALSE(has_partial_file(directory));
  const nlohmann::json rates = json_of(directory, "rates.json");
  EXPECT_EQ(rates.at("transport"), "loopback");
  EXPECT_EQ(rates.at("ranks_per_node"), 2);
  EXPECT_TRUE(rates.at("links").contains("within_node"));
  EXPECT_FALSE(rates.at("links").contains("between_nodes"));
  const Outcome planned = run_program(directory, kPlan + "--rates rates.json");
  EXPECT_EQ(planned.status, 0) << planned.err;
  for (const std::string part : {"time forward", "time backward", "TFLOP/s per rank", "predicted ms", "% hidden"}) {
    EXPECT_TRUE(planned.says(part)) << part << " in " << planned.out;
  }
  const Outcome benched = run_program(directory, kBench + "--ranks 2 --rates rates.json --record record.json");
  ASSERT_EQ(benched.status, 0) << benched.err;
  EXPECT_TRUE(benched.says("ring predicted")) << benched.out;
  for (const std::string pass : {"forward", "backward"}) expect_some_prediction(json_of(directory, "record.json"), pass);
  const Outcome reported = run_program(directory, "report record.json -o report");
  ASSERT_EQ(reported.status, 0) << reported.err;
  EXPECT_TRUE(reported.says("prediction.png")) << reported.out;
}

TEST(Rates, AreMeasuredAndUsedOnMpiRanks) {
  const TemporaryDirectory directory;

  const Outcome calibrated = run_program_on(2, directory, kCalibrate);

  ASSERT_EQ(calibrated.status, 0) << calibrated.err;
  EXPECT_EQ(json_of(directory, "rates.json").at("transport"), "mpi");
  const Outcome benched = run_program_on(2, directory, kBench + "--rates rates.json --record record.json");
  ASSERT_EQ(benched.status, 0) << benched.err;
  for (const std::string pass : {"forward", "backward"}) expect_some_prediction(json_of(directory, "record.json"), pass);
}

TEST(Rates, OfOneRankKnowNoLink) {
  const TemporaryDirectory directory;

  ASSERT_EQ(run_program(directory, kCalibrate).status, 0);

  EXPECT_TRUE(json_of(directory, "rates.json").at("links").empty());
  EXPECT_EQ(run_program(directory, kPlan + "--rates rates.json --ranks 1").status, 2) << "--ranks is given twice";
  expect_refusal(run_program(directory, kPlan + "--rates rates.json"), 2, "the rates have no link");
}

TEST(Rates, PredictionsAreLeftOutOfRecordsWithoutRates) {
  const TemporaryDirectory directory;

  ASSERT_EQ(run_program(directory, kBench + "--record record.json").status, 0);

  EXPECT_FALSE(json_of(directory, "record.json").at("forward").contains("predicted_ms"));
}

TEST(Rates, PredictWhatTheirNumbersSay) {
  const TemporaryDirectory directory;
  nlohmann::json rates = made_up_rates();
  rates["backward"]["pairs_per_second"]["whole"] = 0.5e6;
  write_rates(directory, rates);

  const Outcome outcome = run_program(directory, kPlan + "--rates rates.json");

  // A rank folds 2 heads x 512 x 1024 pairs.
  EXPECT_TRUE(outcome.says("time forward   1.05 s on rank 0, the slowest")) << outcome.out;
  EXPECT_TRUE(outcome.says("time backward  2.10 s on rank 0, the slowest")) << outcome.out;
}

TEST(Rates, SayWhosePlanItIs) {
  const TemporaryDirectory directory;
  nlohmann::json rates = made_up_rates();
  rates["backend"] = "cuda";
  write_rates(directory, rates);
  const std::string plan = "plan --tokens 1024 --heads 2 --head-dim 16 --ranks 2 --preset dense --rates rates.json ";

  EXPECT_TRUE(run_program(directory, plan).says("on its GPU")) << "the rates are a GPU's";
  expect_refusal(run_program(directory, plan + "--backend cpu"), 2, "measured with backend cuda, but this is cpu");
}

TEST(Rates, AFileThatCannotBeWrittenIsRefusedBeforeAnythingIsMeasured) {
  const TemporaryDirectory directory;
  std::ofstream(directory.file("rates.json")) << "mine";

  expect_refusal(run_program(directory, kCalibrate), 2, "rates.json: exists already; give --force");
  expect_refusal(run_program_on(2, directory, kCalibrate), 2, "rates.json: exists already; give --force");
  expect_refusal(run_program(directory, "calibrate -o no/such/rates.json"), 4, "no/such/rates.json: can't be written");
  expect_refusal(run_program(directory, "calibrate"), 2, "calibrate needs --output");
  expect_refusal(run_program(directory, "calibrate -o new.json --tokens-per-rank 255"), 2, "--tokens-per-rank is 255, but must be a multiple of 8");
  expect_refusal(run_program(directory, "calibrate -o new.json --head-dim 7"), 2, "7");
  expect_refusal(run_program(directory, "calibrate -o new.json --memory-limit 1MiB"), 4, "not enough memory");

  std::ifstream file(directory.file("rates.json"));
  std::string text;
  file >> text;
  EXPECT_EQ(text, "mine");
  EXPECT_FALSE(has_partial_file(directory));
  EXPECT_FALSE(std::filesystem::exists(directory.file(".new.json.partial")));
  EXPECT_EQ(run_program(directory, kCalibrate + "--force").status, 0);
}

TEST(Rates, ADamagedFileIsStatus3) {
  const TemporaryDirectory directory;
  const std::vector<std::pair<std::function<void(nlohmann::json&)>, std::string>> spoilt = {
      {[](auto& rates) { rates["format"] = "other"; }, "format is 'other'"},
      {[](auto& rates) { rates["version"] = 2; }, "version is 2"},
      {[](auto& rates) { rates.erase("overlap"); }, "'overlap' is missing"},
      {[](auto& rates) { rates["overlap"] = 1.5; }, "overlap is 1.5, but must be 0 to 1"},
      {[](auto& rates) { rates["forward"] = 3; }, "'forward' must be a JSON object"},
      {[](auto& rates) { rates["forward"]["pairs_per_second"]["cut"] = "fast"; }, "'forward.pairs_per_second.cut' must be a number"},
      {[](auto& rates) { rates["backward"]["pairs_per_second"]["whole"] = 0; }, "backward.pairs_per_second.whole is 0, but must be 1 to 1e+18"},
      {[](auto& rates) { rates["links"]["within_node"]["bytes_per_second"] = 5e-324; }, "links.within_node.bytes_per_second is 4.94066e-324"},
      {[](auto& rates) { rates["links"]["between_node"] = rates["links"]["within_node"]; }, "did you mean 'links.between_nodes'?"},
      {[](auto& rates) { rates["type"] = "float33"; }, "unknown type 'float33'"},
      {[](auto& rates) { rates["backend"] = "gpu"; }, "backend is 'gpu'"},
      {[](auto& rates) { rates["threads_per_rank"] = 0; }, "threads_per_rank is 0"},
      {[](auto& rates) { rates = nlohmann::json::array(); }, "the file must be a JSON object"}};

  for (const auto& [spoil, part] : spoilt) {
    nlohmann::json rates = made_up_rates();
    spoil(rates);
    write_rates(directory, rates);
    const Outcome outcome = run_program(directory, kPlan + "--rates rates.json");
    expect_refusal(outcome, 3, "rates.json: ");
    EXPECT_TRUE(outcome.says(part)) << outcome.err;
  }
  nlohmann::json rates = made_up_rates();
  rates["a\nkey"] = 1;
  write_rates(directory, rates);
  EXPECT_EQ(run_program(directory, kPlan + "--rates rates.json").err, "hilbertring: rates.json: unknown key 'a key'; did you mean 'note'?\n");
  std::ofstream(directory.file("rates.json")) << made_up_rates().dump().substr(0, 100);
  expect_refusal(run_program(directory, kPlan + "--rates rates.json"), 3, "rates.json: is not JSON, or damaged");
  expect_refusal(run_program_on(2, directory, kBench + "--rates rates.json"), 3, "rates.json: is not JSON, or damaged");
  expect_refusal(run_program(directory, kPlan + "--rates none.json"), 3, "none.json: can't be read");
}

TEST(Rates, OfAnotherProblemAreRefusedUnlessTakenAnyway) {
  const TemporaryDirectory directory;
  write_rates(directory, made_up_rates());
  const std::string plan = "plan --tokens 1024 --heads 2 --preset dense --rates rates.json ";

  EXPECT_EQ(run_program(directory, plan + "--head-dim 16").status, 0);
  expect_refusal(run_program(directory, plan + "--head-dim 32"), 2, "rates.json was measured with head dimension 16, but this is 32");
  expect_refusal(run_program(directory, plan + "--head-dim 16 --type float16"), 2, "measured with type float32, but this is float16");
  expect_refusal(run_program(directory, plan + "--head-dim 16 --backend cuda"), 2, "measured with backend cpu, but this is cuda");
  expect_refusal(run_program(directory, plan + "--head-dim 16 --threads 2"), 2, "measured with threads per rank 1, but this is 2");
  expect_refusal(run_program_on(2, directory, "bench --tokens 1024 --heads 2 --preset dense --head-dim 32 --rates rates.json"), 2,
                 "rates.json was measured with head dimension 16, but this is 32");
  EXPECT_EQ(run_program(directory, plan + "--head-dim 32 --threads 2 --rates-anyway").status, 0);
  expect_refusal(run_program(directory, kPlan + "--rates-anyway"), 2, "--rates-anyway is given without --rates");
}

}  // namespace
}  // namespace hilbertring::test
