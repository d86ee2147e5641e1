// Files that must not come into being.
#include <gtest/gtest.h>
#include <mpi.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <fstream>

#include "io/dataset_shape.h"
#include "tests/io/shared_directory.h"

namespace hilbertring::test {
namespace {

using Names = std::vector<std::string>;

FileLayout layout_of(std::int64_t num_tokens) {
  FileLayout layout;
  layout.shape = {1, num_tokens, 2, 2, 8};
  layout.specification.segment_lengths = {num_tokens};
  layout.specification.dilation_rates = {1};
  layout.datasets = {{TensorName::kQ, ElementType::kFloat32}, {TensorName::kK, ElementType::kFloat32}, {TensorName::kV, ElementType::kFloat32}};
  return layout;
}

std::vector<std::byte> rows_of(const FileLayout& layout, Range<SequenceIndex> tokens) {
  return index_bytes(ElementType::kFloat32, 0, tokens.size() * layout.shape.heads * layout.shape.head_dim);
}

/// All ranks must have got the same error.
void expect_same_on_every_rank(const std::optional<Error>& error) {
  std::string text = error ? error->what() : "no error";
  text.resize(1024);
  std::string of_first_rank = text;
  MPI_Bcast(of_first_rank.data(), 1024, MPI_CHAR, 0, MPI_COMM_WORLD);
  EXPECT_EQ(text, of_first_rank);
}

void expect_error(const std::optional<Error>& error, ErrorKind kind, const Names& parts) {
  expect_same_on_every_rank(error);
  ASSERT_TRUE(error.has_value());
  const std::string text = error->what();
  EXPECT_EQ(error->kind(), kind) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  for (const std::string& part : parts) EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in: " << text;
}

void expect_names(const SharedDirectory& directory, const Names& names) {
  MPI_Barrier(MPI_COMM_WORLD);
  if (world_rank() == 0) {
    EXPECT_EQ(directory.names(), names);
  }
}

std::optional<Error> error_of_creating(const std::string& path, const FileLayout& layout, bool overwrite = false) {
  return error_of([&] { FileWriter::create(path, layout, overwrite, MPI_COMM_WORLD); });
}

void make_empty_file(const std::string& path) {
  if (world_rank() == 0) std::ofstream(path).close();
  MPI_Barrier(MPI_COMM_WORLD);
}

/// As a full disk: no file of this process may grow beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : signal_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signal_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*signal_)(int);
};

TEST(FileWriter, ShowsTheNameOnlyAfterCommit) {
  const SharedDirectory directory;
  const auto writer = FileWriter::create(directory.file("case.h5"), layout_of(16), false, MPI_COMM_WORLD);
  expect_names(directory, {".case.h5.partial"});

  writer->commit();

  expect_names(directory, {"case.h5"});
}

TEST(FileWriter, LeavesNothingWhenAbandoned) {
  const SharedDirectory directory;
  const FileLayout layout = layout_of(16);
  {
    const auto writer = FileWriter::create(directory.file("case.h5"), layout, false, MPI_COMM_WORLD);
    const auto tokens = shard_of(16, MPI_COMM_WORLD);
    writer->write(TensorName::kQ, tokens, rows_of(layout, tokens));
  }

  expect_names(directory, {});
}

TEST(FileWriter, LeavesNothingWhenAnExceptionPasses) {
  const SharedDirectory directory;

  const auto error = error_of([&] {
    const auto writer = FileWriter::create(directory.file("case.h5"), layout_of(16), false, MPI_COMM_WORLD);
    throw failure("elsewhere");
  });

  ASSERT_TRUE(error.has_value());
  expect_names(directory, {});
}

TEST(FileWriter, RefusesToOverwrite) {
  const SharedDirectory directory;
  make_empty_file(directory.file("case.h5"));

  const auto error = error_of_creating(directory.file("case.h5"), layout_of(16));

  expect_error(error, ErrorKind::kUsage, {directory.file("case.h5"), "exists", "--force"});
  expect_names(directory, {"case.h5"});
}

TEST(FileWriter, RefusesANameTakenMeanwhile) {
  const SharedDirectory directory;

  const auto error = error_of([&] {
    const auto writer = FileWriter::create(directory.file("case.h5"), layout_of(16), false, MPI_COMM_WORLD);
    make_empty_file(directory.file("case.h5"));
    writer->commit();
  });

  expect_error(error, ErrorKind::kUsage, {"exists", "--force"});
  expect_names(directory, {"case.h5"});
}

TEST(FileWriter, NeverReplacesWhatIsNoRegularFile) {
  const auto error = error_of_creating("/dev/null", layout_of(16), true);

  expect_error(error, ErrorKind::kUsage, {"/dev/null", "no regular file"});
}

TEST(FileWriter, NamesAMissingDirectory) {
  const auto error = error_of_creating("/nonexistent/case.h5", layout_of(16));

  expect_error(error, ErrorKind::kFailure, {"/nonexistent", "No such file or directory"});
}

TEST(FileWriter, NamesADirectoryThatCanNotBeWritten) {
  const auto error = error_of_creating("/proc/case.h5", layout_of(16));

  expect_error(error, ErrorKind::kFailure, {"/proc"});
}

TEST(FileWriter, RefusesWhatTheFileSystemHasNoRoomFor) {
  const SharedDirectory directory;

  const auto error = error_of_creating(directory.file("case.h5"), layout_of(std::int64_t{1} << 50));

  expect_error(error, ErrorKind::kFailure, {"not enough space", directory.file("case.h5"), "bytes"});
  expect_names(directory, {});
}

TEST(FileWriter, LeavesNothingWhenTheDiskIsFull) {
  const SharedDirectory directory;
  std::optional<Error> error;
  {
    const FileSizeLimit limit(6 << 20);
    error = error_of_creating(directory.file("case.h5"), layout_of(1 << 16));  // 3 * 4 MiB
  }

  expect_error(error, ErrorKind::kFailure, {"not enough space", directory.file("case.h5")});
  expect_names(directory, {});
}

TEST(FileWriter, LeavesNothingWhenAWriteFails) {
  const SharedDirectory directory;
  const FileLayout layout = layout_of(1 << 16);
  const auto tokens = shard_of(layout.shape.tokens, MPI_COMM_WORLD);
  const auto rows = rows_of(layout, tokens);

  const auto error = error_of([&] {
    const auto writer = FileWriter::create(directory.file("case.h5"), layout, false, MPI_COMM_WORLD);
    const FileSizeLimit limit(6 << 20);
    for (const auto& [name, type] : layout.datasets) writer->write(name, tokens, rows);
  });

  expect_error(error, ErrorKind::kFailure, {"HDF5", directory.file("case.h5"), "can't be written (file write failed"});
  ASSERT_LT(std::string(error->what()).size(), 200u) << error->what();
  expect_names(directory, {});
}

TEST(FileWriter, FailsEverywhereWhenOneRankFails) {
  const SharedDirectory directory;
  const FileLayout layout = layout_of(16);
  const int culprit = world_size() - 1;

  const auto error = error_of([&] {
    const auto writer = FileWriter::create(directory.file("case.h5"), layout, false, MPI_COMM_WORLD);
    const auto tokens = shard_of(16, MPI_COMM_WORLD);
    auto rows = rows_of(layout, tokens);
    if (world_rank() == culprit) rows.pop_back();
    writer->write(TensorName::kQ, tokens, rows);
  });

  expect_error(error, ErrorKind::kUsage, {"'/q'", "bytes, but the buffer has"});
  expect_names(directory, {});
}

TEST(FileWriter, RefusesTokensOutsideTheTensor) {
  const SharedDirectory directory;
  const FileLayout layout = layout_of(16);
  const Range<SequenceIndex> tokens{SequenceIndex(8), SequenceIndex(17)};

  const auto error = error_of([&] {
    const auto writer = FileWriter::create(directory.file("case.h5"), layout, false, MPI_COMM_WORLD);
    writer->write(TensorName::kQ, tokens, rows_of(layout, tokens));
  });

  expect_error(error, ErrorKind::kUsage, {"'/q'", "[8, 17)", "16"});
}

TEST(FileWriter, RefusesDatasetsOutsideTheLayout) {
  const SharedDirectory directory;
  const FileLayout layout = layout_of(16);
  const auto tokens = shard_of(16, MPI_COMM_WORLD);

  const auto error = error_of([&] {
    const auto writer = FileWriter::create(directory.file("case.h5"), layout, false, MPI_COMM_WORLD);
    writer->write(TensorName::kO, tokens, rows_of(layout, tokens));
  });

  expect_error(error, ErrorKind::kUsage, {"'/o'", "layout"});
}

TEST(CaseFile, IsRefusedOnEveryRankWithTheSameLine) {
  const SharedDirectory directory;
  if (world_rank() == 0) {
    RawCase raw;
    raw.datasets["v"].shape = {1, 12, 1, 8};
    raw.write(directory.file("shapes.h5"));
    std::ofstream(directory.file("text.h5")) << "no HDF5";
  }
  MPI_Barrier(MPI_COMM_WORLD);

  const auto open = [&](const std::string& name) { return error_of([&] { CaseFile::open(directory.file(name), MPI_COMM_WORLD); }); };
  expect_error(open("shapes.h5"), ErrorKind::kInput, {"shapes.h5", "'/v'"});
  expect_error(open("text.h5"), ErrorKind::kInput, {"text.h5", "not an HDF5 file"});
  expect_error(open("none.h5"), ErrorKind::kInput, {"none.h5", "No such file"});
}

}  // namespace
}  // namespace hilbertring::test
