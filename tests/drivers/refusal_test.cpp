#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <span>

#include "tests/drivers/program.h"

namespace hilbertring::test {
namespace {

struct Refused {
  std::string words;
  int status;
  std::string part;
};

void expect_all_refused(const TemporaryDirectory& directory, const std::vector<Refused>& all) {
  for (const Refused& refused : all) {
    SCOPED_TRACE(refused.words);
    expect_refusal(run_program(directory, refused.words), refused.status, refused.part);
  }
}

TEST(Refusal, UsageIsStatus2) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");
  const std::string run = "run c.h5 -o r.h5 ";
  const std::string generate = "generate g.h5 --heads 4 --head-dim 16 ";

  expect_all_refused(directory,
                     {{"", 2, "no command"},
                      {"rnu", 2, "did you mean 'run'?"},
                      {"run c.h5", 2, "run needs --output"},
                      {run + "--caussal sequence", 2, "unknown option '--caussal'; did you mean '--causal'?"},
                      {run + "--causal sequnce", 2, "did you mean 'sequence'?"},
                      {run + "--preset longnt", 2, "did you mean 'longnet'?"},
                      {run + "--output-type float23", 2, "unknown type 'float23'; did you mean 'float"},
                      {run + "--segment-lengths 100", 2, "segment_lengths has 1 entries and dilation_rates has 2"},
                      {run + "--dilation-rates 1,500", 2, "dilation_rates[1] is 500, but must not exceed segment_lengths[1], which is 400"},
                      {run + "--ranks 13", 2, "too many ranks: 13 ranks"},
                      {run + "--ranks 0", 2, "--ranks is '0'"},
                      {run + "--ranks 2 --transport mpi", 2, "started on one MPI rank"},
                      {run + "--transport pigeon", 2, "must be one of auto, loopback, mpi, nccl, peer"},
                      {run + "--rotation up", 2, "--rotation is 'up', but must be one of auto, kv, queries"},
                      {run + "--peer-timeout 0", 2, "--peer-timeout is '0'"},
                      {run + "--backend gpu", 2, "must be one of auto, cpu, cuda"},
                      {run + "--grid 4x4", 2, "grid is 4x4"},
                      {run + "--scale 0", 2, "scale is 0"},
                      {run + "--memory-limit lots", 2, "--memory-limit is 'lots'"},
                      {generate + "--tokens 64", 2, "generate needs a pattern"},
                      {generate + "--preset dense", 2, "generate needs --tokens"},
                      {generate + "--preset dense --tokens 64 --kv-heads 3", 2, "must be a multiple of the number of KV heads G"},
                      {generate + "--preset dense --tokens 64 --type int8", 2, "int8"},
                      {"plan --tokens 64 --heads 1 --head-dim 8 --preset dense --curve file", 2, "plan reads no case file"}});
}

TEST(Refusal, BadFileIsStatus3) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");
  std::ofstream(directory.file("empty.h5")).close();
  std::ofstream(directory.file("text.h5")) << std::string(4096, 'x');
  std::filesystem::copy(directory.file("c.h5"), directory.file("cut.h5"));
  std::filesystem::resize_file(directory.file("cut.h5"), 5000);

  expect_all_refused(directory, {{"run none.h5 -o r.h5", 3, "none.h5: can't be read: No such file"},
                                 {"run empty.h5 -o r.h5", 3, "empty.h5: is empty"},
                                 {"run text.h5 -o r.h5", 3, "text.h5: is not an HDF5 file"},
                                 {"run cut.h5 -o r.h5", 3, "cut.h5: is truncated"},
                                 {"info text.h5", 3, "text.h5: is not an HDF5 file"},
                                 {"run c.h5 -o r.h5 --curve file", 3, "c.h5: '/order' is missing"},
                                 {"verify c.h5 c.h5", 3, "c.h5: '/o' is missing"}});
}

TEST(Refusal, BadCaseIsStatus3) {
  const TemporaryDirectory directory;
  const std::vector<std::pair<std::function<void(RawCase&)>, std::string>> spoilt = {
      {[](RawCase& raw) { raw.datasets.erase("k"); }, "'/k'"},
      {[](RawCase& raw) {
         raw.datasets["q"].shape = {12, 4, 8};
       },
       "4 dimensions"},
      {[](RawCase& raw) {
         raw.datasets["v"].shape = {1, 13, 2, 8};
       },
       "'/v'"},
      {[](RawCase& raw) { raw.datasets["q"].type = [] { return copy_of(H5T_STD_I32LE); }; }, "32-bit signed integer"},
      {[](RawCase& raw) {
         raw.datasets["k"].shape = raw.datasets["v"].shape = {1, 12, 3, 8};
       },
       "multiple"},
      {[](RawCase& raw) { raw.spec = R"({"segment_lengths": [12], "dilation_rates": [1], "casual": "none"})"; }, "did you mean 'causal'?"},
      {[](RawCase& raw) { raw.spec = R"({"segment_lengths": [12], "dilation_rates": [1], "curve": "hilbret"})"; }, "did you mean 'hilbert'?"},
      {[](RawCase& raw) { raw.spec = R"({"segment_lengths": [12, 4], "dilation_rates": [1]})"; }, "dilation_rates"},
      {[](RawCase& raw) { raw.spec = R"({"segment_lengths": [4], "dilation_rates": [5]})"; }, "dilation_rates[0] is 5"},
      {[](RawCase& raw) { raw.spec = "{no JSON"; }, "not JSON"}};
  for (const auto& [spoil, part] : spoilt) {
    RawCase raw;
    spoil(raw);
    raw.write(directory.file("bad.h5"));

    expect_refusal(run_program(directory, "run bad.h5 -o r.h5"), 3, part);

    EXPECT_FALSE(std::filesystem::exists(directory.file("r.h5")));
  }
}

/// Element (0, 5, 3, 2) of q is `value`.
RawCase case_with(float value) {
  RawCase raw;
  std::vector<float> elements(12 * 4 * 8, 0.5f);
  elements[(5 * 4 + 3) * 8 + 2] = value;
  for (auto& [name, dataset] : raw.datasets) dataset.bytes.resize(12 * (name == "q" ? 4 : 2) * 8 * 4);
  const auto bytes = std::as_bytes(std::span(elements));
  raw.datasets["q"].bytes.assign(bytes.begin(), bytes.end());
  return raw;
}

TEST(Refusal, NonfiniteInputIsNamedWithTensorAndIndex) {
  const TemporaryDirectory directory;
  case_with(std::numeric_limits<float>::quiet_NaN()).write(directory.file("nan.h5"));
  case_with(-std::numeric_limits<float>::infinity()).write(directory.file("inf.h5"));

  expect_refusal(run_program(directory, "run nan.h5 -o r.h5"), 3, "'/q' holds NaN at [0, 5, 3, 2]");
  expect_refusal(run_program(directory, "run inf.h5 -o r.h5 --ranks 3 --chunk 2"), 3, "'/q' holds -infinity at [0, 5, 3, 2]");
  EXPECT_FALSE(std::filesystem::exists(directory.file("r.h5")));
  EXPECT_EQ(run_program(directory, "run nan.h5 -o r.h5 --allow-nonfinite").status, 0);
}

TEST(Refusal, OrderThatIsNoPermutation) {
  const TemporaryDirectory directory;
  RawCase raw = case_with(1);
  raw.spec = R"({"segment_lengths": [12], "dilation_rates": [1], "curve": "file"})";
  const std::vector<std::int64_t> order = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10};
  const auto bytes = std::as_bytes(std::span(order));
  raw.datasets["order"] = {{12}, [] { return copy_of(H5T_STD_I64LE); }, {bytes.begin(), bytes.end()}};
  raw.write(directory.file("bad.h5"));

  expect_refusal(run_program(directory, "run bad.h5 -o r.h5"), 3, "/order[11] = 10 is already at [10]");
}

TEST(Refusal, ExistingResultIsKeptWithoutForce) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");
  std::ofstream(directory.file("r.h5")) << "precious";

  expect_refusal(run_program(directory, "run c.h5 -o r.h5"), 2, "'r.h5' exists; give --force to replace it");
  expect_refusal(run_program(directory, "generate c.h5 --tokens 64 --heads 1 --head-dim 8 --preset dense"), 2, "c.h5");

  EXPECT_EQ(std::filesystem::file_size(directory.file("r.h5")), 8u);
  EXPECT_EQ(run_program(directory, "run c.h5 -o r.h5 --force").status, 0);
}

TEST(Refusal, ListOfNetworkCardsIsStatus2) {
  const TemporaryDirectory directory;

  expect_refusal(run_shell(directory, std::string("HILBERTRING_NICS='mlx5_0,' ") + kProgram + " run c.h5 -o r.h5"), 2,
                 "HILBERTRING_NICS is 'mlx5_0,'");
}

TEST(Refusal, MachineIsStatus4) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");

  expect_refusal(run_program(directory, "run c.h5 -o no/r.h5"), 4, "No such file or directory");
  expect_refusal(run_program(directory, "run c.h5 -o r.h5 --memory-limit 1KiB"), 4, "not enough memory: a rank needs");
  expect_refusal(run_shell(directory, std::string("CUDA_VISIBLE_DEVICES='' ") + kProgram + " run c.h5 -o r.h5 --backend cuda"), 4,
                 "--backend is 'cuda', but ");
  // A file may not grow beyond 64 blocks: as on a disk that is full.
  expect_refusal(run_shell(directory, std::string("trap '' XFSZ; ulimit -f 64; ") + kProgram + " run c.h5 -o r.h5"), 4, "r.h5");
  const auto names = directory.names();
  EXPECT_EQ(std::count_if(names.begin(), names.end(), [](const std::string& name) { return name.find("r.h5") != std::string::npos; }), 0)
      << "nothing is left behind";
}

}  // namespace
}  // namespace hilbertring::test
