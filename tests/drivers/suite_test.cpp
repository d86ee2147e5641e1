#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <vector>

#include "drivers/suite_manifest.h"
#include "io/files.h"
#include "tests/drivers/program.h"

namespace hilbertring::test {
namespace {

namespace fs = std::filesystem;

/// A set of its own for each test that damages one: made once, then copied.
class Suite : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    original_ = std::make_unique<TemporaryDirectory>();
    const Outcome outcome = run_program(*original_, "suite set");
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }
  static void TearDownTestSuite() { original_.reset(); }
  void SetUp() override { fs::copy(original_->file("set"), directory_.file("set")); }

  std::string file(const std::string& name) const { return directory_.file("set/" + name); }
  SuiteManifest manifest() const { return manifest_from_json(read_text_file(file(kManifestName)), kManifestName); }
  void expect_check_refuses(const std::string& part) const {
    expect_refusal(run_program(directory_, "suite set --check"), 3, part);
    EXPECT_EQ(directory_.names(), (std::vector<std::string>{".err", ".line", ".out", "set"})) << "nothing is left behind";
  }
  void flip_byte(const std::string& name, std::streamoff from_end) const {
    std::fstream stream(file(name), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(-from_end, std::ios::end);
    const auto byte = static_cast<char>(stream.get() ^ 0x10);
    stream.seekp(-from_end, std::ios::end);
    stream.put(byte);
  }
  /// Changes the first element of /o, and makes all sums fit again.
  void forge_first_output(const std::string& case_name, const std::function<double(double)>& forge) const {
    SuiteManifest forged = manifest();
    const auto is_it = [&](const SuiteEntry& entry) { return entry.suite_case.name == case_name; };
    const auto entry = std::find_if(forged.entries.begin(), forged.entries.end(), is_it);
    {
      const FileHandle handle(H5Fopen(file(case_name + ".h5").c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
      const DatasetHandle o(H5Dopen2(handle.get(), "o", H5P_DEFAULT));
      const Shape& shape = entry->suite_case.shape;
      std::vector<double> values(static_cast<std::size_t>(shape.batch * shape.tokens * shape.heads * shape.head_dim));
      ASSERT_GE(H5Dread(o.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
      values[0] = forge(values[0]);
      ASSERT_GE(H5Dwrite(o.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
    }
    *entry = measured_entry(directory_.file("set"), entry->suite_case);
    write_text_file(file(kManifestName), to_json(forged));
  }

  static std::unique_ptr<TemporaryDirectory> original_;
  TemporaryDirectory directory_;
};

std::unique_ptr<TemporaryDirectory> Suite::original_;

TEST_F(Suite, SameBytesTwice) {
  // On other threads, and ranks, and in another second.
  ASSERT_EQ(run_shell(directory_, "sleep 1; OMP_NUM_THREADS=1 " + std::string(kProgram) + " suite again").status, 0);
  ASSERT_EQ(run_program_on(2, directory_, "suite on-two-ranks").status, 0);

  for (const std::string other : {"again", "on-two-ranks"}) {
    const Outcome difference = run_shell(directory_, "diff -r set " + other);

    EXPECT_EQ(difference.status, 0) << difference.out;
  }
}

/// A new sum means another set: raise kSuiteVersion.
TEST_F(Suite, SameDataOnEveryMachine) { EXPECT_EQ(manifest().data_sha256(), "16b4f3f7f7b33ded0409182c3f603926c1300e4a0037a85a152ac9bb4f01fdde"); }

TEST_F(Suite, ManifestNamesEveryFile) {
  std::vector<std::string> named = {kManifestName};
  for (const SuiteEntry& entry : manifest().entries) named.push_back(entry.suite_case.file_name());
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(directory_.file("set"))) found.push_back(entry.path().filename());
  std::sort(named.begin(), named.end());
  std::sort(found.begin(), found.end());

  EXPECT_EQ(found, named);
}

TEST_F(Suite, ListPrintsEveryCaseAndWritesNothing) {
  const Outcome outcome = run_program(directory_, "suite --list");

  EXPECT_EQ(outcome.status, 0) << outcome.err;
  for (const SuiteCase& suite_case : suite_cases()) EXPECT_TRUE(outcome.says("\n" + suite_case.name + " ")) << suite_case.name;
  EXPECT_EQ(directory_.names(), (std::vector<std::string>{".err", ".line", ".out", "set"}));
}

TEST_F(Suite, CheckPassesOnCpu) {
  for (const std::string ranks : {"1", "3", "8"}) {
    const Outcome outcome = run_program(directory_, "suite set --check --backend cpu --ranks " + ranks);

    EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
    EXPECT_EQ(outcome.err, "");
    EXPECT_TRUE(outcome.says(std::to_string(suite_cases().size()) + " cases: all verified")) << outcome.out;
  }
  EXPECT_EQ(directory_.names(), (std::vector<std::string>{".err", ".line", ".out", "set"})) << "results are removed";
}

TEST_F(Suite, CheckPassesOnMpiRanks) {
  const Outcome outcome = run_program_on(3, directory_, "suite set --check --backend cpu");

  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  EXPECT_TRUE(outcome.says("3 ranks (mpi), one thread each, backend cpu")) << outcome.out;
  EXPECT_TRUE(outcome.says("all verified")) << outcome.out;
}

TEST_F(Suite, CheckNeedsNoRoomBesideASetThatCanNotBeChanged) {
  ASSERT_TRUE(fs::create_directory(directory_.file("tmp")));

  const Outcome outcome = run_program(directory_, "suite set --check --backend cpu --scratch tmp --only preset-longnet");

  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  EXPECT_TRUE(outcome.says("one case: all verified")) << outcome.out;
  EXPECT_TRUE(fs::is_empty(directory_.file("tmp")));
  expect_refusal(run_program(directory_, "suite set --check --scratch none"), 4, "no directory for results can be made in 'none'");
}

TEST_F(Suite, CheckMissesAWrongExpectationAndNamesTheCase) {
  forge_first_output("curve-morton-3d", [](double value) { return value + 1e-4; });

  const Outcome outcome = run_program(directory_, "suite set --check --backend cpu --ranks 3");

  EXPECT_EQ(outcome.status, 1) << outcome.out << outcome.err;
  EXPECT_TRUE(outcome.says("MISS curve-morton-3d: o, batch 0, token 0, head 0, column 0")) << outcome.out;
  EXPECT_TRUE(outcome.says("MISSED: 1 of ")) << outcome.out;
}

TEST_F(Suite, CheckMissesAnExpectationThatIsNan) {
  forge_first_output("type-bfloat16", [](double) { return std::numeric_limits<double>::quiet_NaN(); });

  const Outcome outcome = run_program_on(2, directory_, "suite set --check --backend cpu --only type-bfloat16");

  EXPECT_EQ(outcome.status, 1) << outcome.out << outcome.err;
  EXPECT_TRUE(outcome.says("MISS type-bfloat16: o")) << outcome.out;
}

TEST_F(Suite, CheckNamesADamagedFile) {
  flip_byte("batch-3.h5", 2000);
  expect_check_refuses("set/batch-3.h5: is damaged: its SHA-256 is not the manifest's");
  flip_byte("batch-3.h5", 2000);
  EXPECT_EQ(run_program(directory_, "suite set --check --only batch-3").status, 0) << "whole again";

  flip_byte("batch-3.h5", static_cast<std::streamoff>(fs::file_size(file("batch-3.h5"))));
  expect_check_refuses("set/batch-3.h5: is damaged");
  fs::resize_file(file("preset-longnet.h5"), 100000);
  expect_check_refuses("set/preset-longnet.h5: is damaged: it has 100000 bytes");
  fs::remove(file("preset-dense.h5"));
  expect_check_refuses("set/preset-dense.h5: can't be read: No such file");
}

TEST_F(Suite, CheckNamesADamagedManifest) {
  const std::string whole = read_text_file(file(kManifestName));
  const auto with = [&](const std::string& part, const std::string& other) {
    std::string text = whole;
    return text.replace(text.find(part), part.size(), other);
  };
  const std::vector<std::pair<std::string, std::string>> damaged = {
      {with("\"version\": 1", "\"version\": 2"), "manifest.json: is of set \"hilbertring-regression\" version 2, but this program knows"},
      {with("\"name\":\"batch-3\"", "\"name\":\"batch-4\""), "manifest.json: lacks case 'batch-3'"},
      {with("\"batch\":3", "\"batch\":2"), "manifest.json: does not describe case 'batch-3'"},
      {with("\"data_sha256\": \"", "\"data_sha256\": \"0"), "manifest.json: is not as it was written"},
      {with("\"sha256\":", "\"sha257\":"), "manifest.json: does not describe case 'preset-dense'"},
      {whole.substr(0, whole.size() / 2), "manifest.json: is no manifest of a regression set (it is not JSON)"},
      {"[]", "manifest.json: is no manifest of a regression set"}};
  for (const auto& [text, part] : damaged) {
    write_text_file(file(kManifestName), text);

    expect_check_refuses(part);
  }
  fs::remove(file(kManifestName));
  expect_check_refuses("set/manifest.json: can't be read: No such file");
}

TEST_F(Suite, AnErrorOfAllRanksIsOneLine) {
  fs::remove(file("batch-3.h5"));

  expect_refusal(run_program_on(3, directory_, "suite set --check"), 3, "set/batch-3.h5: can't be read");
  expect_refusal(run_program_on(2, directory_, "suite set"), 2, "'set' exists and is not empty");
}

TEST_F(Suite, RefusesWhatItCanNotDo) {
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"suite", "suite needs DIR"},
      {"suite .", "'.' is not the name of a directory"},
      {"suite set", "'set' exists and is not empty; give --force"},
      {"suite set/manifest.json", "'set/manifest.json' exists and is no directory"},
      {"suite set --ranks 3", "suite takes --ranks with --check only"},
      {"suite set --only batch-3", "suite takes --only with --check only"},
      {"suite set --check --force", "suite takes --force without --check only"},
      {"suite --list --force", "suite takes --force without --list only"},
      {"suite set --chekc", "did you mean '--check'?"},
      {"suite set --check --only batch-4", "unknown case 'batch-4'; did you mean 'batch-3'?"},
      {"suite set --check --ranks 9", "run on at most 8 ranks, not on 9"},
      {"suite set --check --transport pigeon", "must be one of auto, loopback, mpi, nccl, peer"},
      {"suite set --check --backend gpu", "must be one of auto, cpu, cuda"}};
  for (const auto& [words, part] : refused) {
    SCOPED_TRACE(words);
    expect_refusal(run_program(directory_, words), 2, part);
  }
}

TEST_F(Suite, ForceReplacesASetAndNothingElse) {
  fs::remove(file("batch-3.h5"));
  ASSERT_EQ(run_program(directory_, "suite set --force").status, 0);
  EXPECT_TRUE(fs::exists(file("batch-3.h5")));

  std::ofstream(file("notes.txt")) << "precious";
  expect_refusal(run_program(directory_, "suite set --force"), 2, "holds other things than a regression set");
  EXPECT_TRUE(fs::exists(file("notes.txt")));
  ASSERT_TRUE(fs::create_directory(directory_.file("empty")));
  EXPECT_EQ(run_program(directory_, "suite empty/").status, 0);
}

TEST_F(Suite, FullDiskLeavesNothingBehind) {
  const TemporaryDirectory other;
  // A file may not grow beyond 400 blocks: as on a disk that is full.
  expect_refusal(run_shell(other, std::string("trap '' XFSZ; ulimit -f 400; ") + kProgram + " suite new"), 4, "preset-dense.h5");
  expect_refusal(run_program(other, "suite no/new"), 4, "directory 'no': No such file or directory");

  EXPECT_EQ(other.names(), (std::vector<std::string>{".err", ".line", ".out"}));
}

}  // namespace
}  // namespace hilbertring::test
