#include <gtest/gtest.h>

#include <sstream>

#include "tests/drivers/program.h"

namespace hilbertring::test {
namespace {

void expect_good(const Outcome& outcome) { EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err; }

TEST(RoundTrip, EveryPresetIsVerified) {
  const TemporaryDirectory directory;
  for (const std::string preset : {"dense", "longnet", "torchscale", "ring-dilated-hilbert", "hilbert-core"}) {
    SCOPED_TRACE(preset);
    expect_good(run_program(directory, "generate c.h5 --tokens 700 --heads 4 --kv-heads 2 --head-dim 24 --gradient --force --preset " + preset));
    expect_good(run_program(directory, "run c.h5 -o r.h5 --ranks 3 --force"));
    expect_good(run_program(directory, "verify r.h5 c.h5"));
  }
}

TEST(RoundTrip, EveryTypeIsVerifiedWithAllRowsAndWithSomeAndWithEachOutputType) {
  const TemporaryDirectory directory;
  const std::vector<std::string> types = {"float16", "bfloat16", "float32", "float64"};
  for (const std::string& type : types) {
    generate_small_case(directory, "c.h5", "--force --causal sequence --type " + type);
    for (const std::string& output_type : types) {
      SCOPED_TRACE(type + " to " + output_type);
      expect_good(run_program(directory, "run c.h5 -o r.h5 --ranks 2 --force --output-type " + output_type));
      expect_good(run_program(directory, "verify r.h5 c.h5"));
      expect_good(run_program(directory, "verify r.h5 c.h5 --sample 40 --seed 3"));
    }
  }
}

TEST(RoundTrip, EveryOrderPlacementAndCausalityIsVerified) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5", "--curve file");
  for (const std::string words : {"--curve file --causal sequence", "--curve snake --causal position", "--curve morton --curve-chunk 128",
                                  "--curve-on kv --causal sequence --placement zigzag", "--dilate kv --branch-heads split --offset head-block",
                                  "--curve identity --scale 3.5", "--grid 5x10x12"}) {
    SCOPED_TRACE(words);
    expect_good(run_program(directory, "run c.h5 -o r.h5 --ranks 4 --force " + words));
    expect_good(run_program(directory, "verify r.h5 c.h5"));
  }
}

TEST(RoundTrip, CorrectResultsStayWellInsideTheBounds) {
  const TemporaryDirectory directory;
  for (const std::string type : {"float32", "float64"}) {
    expect_good(
        run_program(directory, "generate c.h5 --tokens 3000 --heads 2 --kv-heads 1 --head-dim 32 --gradient --force --preset dense --type " + type));
    expect_good(run_program(directory, "run c.h5 -o r.h5 --force"));

    const Outcome outcome = run_program(directory, "verify r.h5 c.h5 --sample 500");

    expect_good(outcome);
    for (const std::string tensor : {"o", "lse", "dq", "dk", "dv"}) {
      std::istringstream lines(outcome.out);
      for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string name, elements;
        double max_error = 0, rms_error = 0, fraction = 1;
        if (words >> name >> elements >> max_error >> rms_error >> fraction && name == tensor) {
          EXPECT_LT(fraction, 0.5) << line;
        }
      }
    }
  }
}

TEST(RoundTrip, NoGradientMeansForwardOnly) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");

  expect_good(run_program(directory, "run c.h5 -o r.h5 --no-gradient"));

  const Outcome outcome = run_program(directory, "verify r.h5 c.h5");
  expect_good(outcome);
  EXPECT_TRUE(outcome.says("no gradients to compare"));
}

TEST(RoundTrip, SameBitsForAnyRankCountAndThreadCount) {
  const TemporaryDirectory directory;
  for (const std::string words : {"", "--causal sequence --placement zigzag"}) {
    generate_small_case(directory, "c.h5", "--force " + words);
    expect_good(run_program(directory, "run c.h5 -o one.h5 --force --threads 1"));
    for (const std::string run : {"--ranks 2", "--ranks 3 --threads 2", "--ranks 4", "--ranks 6 --threads 3", "--threads 4"}) {
      SCOPED_TRACE(words + " " + run);
      expect_good(run_program(directory, "run c.h5 -o other.h5 --force " + run));
      expect_good(run_program(directory, "verify one.h5 other.h5 --bits"));
    }
  }
}

TEST(RoundTrip, SeedDecidesTheData) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "a.h5", "--seed 5");
  generate_small_case(directory, "b.h5", "--seed 5");
  generate_small_case(directory, "c.h5", "--seed 6");
  for (const std::string name : {"a", "b", "c"}) expect_good(run_program(directory, "run " + name + ".h5 -o r" + name + ".h5"));

  EXPECT_EQ(run_program(directory, "verify ra.h5 rb.h5 --bits").status, 0);
  EXPECT_EQ(run_program(directory, "verify ra.h5 rc.h5 --bits").status, 1);
}

}  // namespace
}  // namespace hilbertring::test
