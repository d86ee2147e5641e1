#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <span>

#include "tests/drivers/program.h"

namespace hilbertring::test {
namespace {

TEST(MpiProgram, GeneratesTheSameCaseOnAnyNumberOfRanks) {
  const TemporaryDirectory directory;
  const std::string words = " --tokens 300 --heads 2 --head-dim 8 --gradient --preset dense --curve file --seed 9";
  ASSERT_EQ(run_program(directory, "generate one.h5" + words).status, 0);

  ASSERT_EQ(run_program_on(3, directory, "generate three.h5" + words).status, 0);

  // Equal checksums are equal bytes; the lines differ in nothing else.
  EXPECT_EQ(run_program(directory, "info one.h5").out, run_program(directory, "info three.h5").out);
  ASSERT_EQ(run_program(directory, "run one.h5 -o r1.h5").status, 0);
  ASSERT_EQ(run_program(directory, "run three.h5 -o r3.h5").status, 0);
  EXPECT_EQ(run_program(directory, "verify r1.h5 r3.h5 --bits").status, 0);
}

TEST(MpiProgram, MpiEqualsLoopbackBitwiseOnAnyNumberOfRanks) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5", "--causal sequence");
  ASSERT_EQ(run_program(directory, "run c.h5 -o one.h5").status, 0);
  for (const int ranks : {1, 2, 3, 4}) {
    SCOPED_TRACE(ranks);

    const Outcome outcome = run_program_on(ranks, directory, "run c.h5 -o mpi.h5 --force --transport mpi");

    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(outcome.says("(mpi)")) << outcome.out;
    EXPECT_EQ(run_program(directory, "verify one.h5 mpi.h5 --bits").status, 0);
  }
  EXPECT_EQ(run_program(directory, "verify mpi.h5 c.h5").status, 0);
}

TEST(MpiProgram, AnErrorOfAllRanksIsOneLine) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");

  expect_refusal(run_program_on(3, directory, "run none.h5 -o r.h5"), 3, "hilbertring: none.h5: can't be read");
  expect_refusal(run_program_on(3, directory, "run c.h5 -o r.h5 --ranks 2"), 2, "--ranks is 2, but the program was started on 3 MPI ranks");
  expect_refusal(run_program_on(2, directory, "run c.h5 -o r.h5 --transport loopback"), 2, "loopback runs in one process");
  expect_refusal(run_program_on(3, directory, "run c.h5 -o r.h5 --caussal none"), 2, "did you mean '--causal'?");
  expect_refusal(run_program_on(2, directory, "verify c.h5 c.h5"), 2, "verify runs in one process");
  EXPECT_FALSE(std::filesystem::exists(directory.file("r.h5")));
}

TEST(MpiProgram, NonfiniteInputNamesTheRankThatReadIt) {
  const TemporaryDirectory directory;
  RawCase raw;
  std::vector<float> elements(12 * 2 * 8, 0.5f);
  elements[(11 * 2 + 1) * 8 + 7] = std::numeric_limits<float>::infinity();
  for (auto& [name, dataset] : raw.datasets) dataset.bytes.resize(12 * (name == "q" ? 4 : 2) * 8 * 4);
  const auto bytes = std::as_bytes(std::span(elements));
  raw.datasets["v"].bytes.assign(bytes.begin(), bytes.end());
  raw.write(directory.file("bad.h5"));

  const Outcome outcome = run_program_on(3, directory, "run bad.h5 -o r.h5 --chunk 2");

  expect_refusal(outcome, 3, "hilbertring: rank 2");
  EXPECT_TRUE(outcome.says("'/v' holds infinity at [0, 11, 1, 7]")) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(directory.file("r.h5")));
}

TEST(MpiProgram, FullDiskEndsTheJobWithOneLineAndNoFile) {
  const TemporaryDirectory directory;
  ASSERT_EQ(run_program(directory, "generate c.h5 --tokens 24000 --heads 4 --head-dim 64 --segment-lengths 100 --dilation-rates 1").status, 0);
  // No rank may write a file beyond 20,000 KiB (its messages' shared memory fits in that, the result does not).
  const std::string limited = "bash -c \"trap '' XFSZ; ulimit -f 20000; exec " + std::string(kProgram) + " run c.h5 -o r.h5\"";

  const Outcome outcome = run_shell(directory, "OMP_NUM_THREADS=1 " + std::string(kLauncher) + " -np 2 --oversubscribe --bind-to none " + limited);

  expect_refusal(outcome, 4, "r.h5");
  EXPECT_FALSE(std::filesystem::exists(directory.file("r.h5")));
}

TEST(MpiProgram, ARankAloneWithItsErrorEndsTheJob) {
  const TemporaryDirectory directory;
  generate_small_case(directory, "c.h5");

  // Only rank 0 writes records.
  const Outcome outcome = run_program_on(2, directory, "run c.h5 -o r.h5 --record no/such/record.json");

  expect_refusal(outcome, 4, "hilbertring: rank 0 on ");
  EXPECT_TRUE(outcome.says("no/such/record.json")) << outcome.err;
}

TEST(MpiProgram, ARankThatIsKilledEndsTheJobWithinSecondsAndLeavesNoResult) {
  const TemporaryDirectory directory;
  ASSERT_EQ(run_program(directory, "generate c.h5 --tokens 32768 --heads 8 --head-dim 32 --preset dense --chunk 512").status, 0);
  // The job takes far longer than the wait for its partial file; the ranks are the launcher's children.
  const std::string script = "( exec " + std::string("env OMP_NUM_THREADS=1 ") + launch_line(3).substr(launch_line(3).find(kLauncher)) +
                             "run c.h5 -o r.h5 ) &\n"
                             "job=$!\n"
                             "for i in $(seq 200); do [ -e .r.h5.partial ] && break; sleep 0.1; done\n"
                             "[ -e .r.h5.partial ] || { kill $job; exit 77; }\n"
                             "sleep 1\n"
                             "kill -9 $(pgrep -P $job | tail -1)\n"
                             "date +%s%N > killed\n"
                             "wait $job\n"
                             "status=$?\n"
                             "date +%s%N > ended\n"
                             "exit $status\n";

  const Outcome outcome = run_shell(directory, script);

  EXPECT_NE(outcome.status, 0);
  EXPECT_NE(outcome.status, 77) << "the job never began: " << outcome.err;
  const Outcome seconds = run_shell(directory, "echo $(( ($(cat ended) - $(cat killed)) / 1000000000 ))");
  EXPECT_LT(std::stoi(seconds.out), 10) << "seconds after the kill";
  EXPECT_FALSE(std::filesystem::exists(directory.file("r.h5")));
  EXPECT_FALSE(std::filesystem::exists(directory.file(".r.h5.partial"))) << "a rank that is left removes it when the launcher ends it";
}

}  // namespace
}  // namespace hilbertring::test
