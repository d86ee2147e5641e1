// What is written by P ranks is read back by P, by halves of them and by each alone.
#include <gtest/gtest.h>
#include <mpi.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "io/checksum.h"
#include "io/dataset_shape.h"
#include "tests/io/shared_directory.h"

namespace hilbertring::test {
namespace {

/// Every dataset there is, two batch elements (a rank's slab is then two separate pieces), 37 tokens (shards of unequal length).
FileLayout full_layout(ElementType type) {
  FileLayout layout;
  layout.shape = {2, 37, 4, 2, 8};
  layout.specification.segment_lengths = {16, 37};
  layout.specification.dilation_rates = {1, 4};
  for (const TensorName name : kTensorNames) layout.datasets.emplace_back(name, is_row_scalar(name) ? ElementType::kFloat32 : type);
  layout.has_order = true;
  return layout;
}

std::vector<std::byte> whole_tensor(const FileLayout& layout, TensorName name, ElementType type) {
  // Tensors differ: each begins at another index.
  return index_bytes(type, 100000 * static_cast<int>(name), num_elements(dataset_shape(name, layout.shape)));
}

std::vector<std::byte> part_of_tensor(const FileLayout& layout, TensorName name, ElementType type, Range<SequenceIndex> tokens) {
  const auto shape = dataset_shape(name, layout.shape);
  const std::int64_t inner = is_row_scalar(name) ? 1 : shape[2] * shape[3];
  return slice(whole_tensor(layout, name, type), static_cast<std::size_t>(layout.shape.tokens), static_cast<std::size_t>(inner * size_bytes(type)),
               tokens);
}

std::vector<std::int64_t> reversed_order(std::int64_t num_tokens) {
  std::vector<std::int64_t> order;
  for (std::int64_t p = 0; p < num_tokens; ++p) order.push_back(num_tokens - 1 - p);
  return order;
}

std::vector<std::string> write_all(const std::string& path, const FileLayout& layout, MPI_Comm comm) {
  const auto writer = FileWriter::create(path, layout, false, comm);
  const auto tokens = shard_of(layout.shape.tokens, comm);
  for (const auto& [name, type] : layout.datasets) writer->write(name, tokens, part_of_tensor(layout, name, type, tokens));
  writer->write_order(reversed_order(layout.shape.tokens));
  return writer->commit();
}

void expect_all(const std::string& path, const FileLayout& layout, MPI_Comm comm) {
  const auto file = CaseFile::open(path, comm);
  const auto tokens = shard_of(layout.shape.tokens, comm);
  EXPECT_EQ(file->shape(), layout.shape);
  EXPECT_EQ(file->specification(), layout.specification);
  ASSERT_EQ(file->datasets().size(), layout.datasets.size());
  for (const auto& [name, type] : layout.datasets) {
    const auto expected = part_of_tensor(layout, name, type, tokens);
    std::vector<std::byte> read(expected.size(), std::byte{0xff});
    file->read(name, tokens, read);
    EXPECT_EQ(read, expected) << to_string(name) << " as " << to_string(type);
  }
  EXPECT_EQ(file->read_order(), reversed_order(layout.shape.tokens));
}

TEST(RoundTrip, KeepsEveryBitOfEveryType) {
  for (const ElementType type : kElementTypes) {
    const SharedDirectory directory;
    const FileLayout layout = full_layout(type);

    write_all(directory.file("case.h5"), layout, MPI_COMM_WORLD);

    expect_all(directory.file("case.h5"), layout, MPI_COMM_WORLD);
  }
}

TEST(RoundTrip, ReadsBackOnAnotherNumberOfRanks) {
  const SharedDirectory directory;
  const FileLayout layout = full_layout(ElementType::kBfloat16);
  write_all(directory.file("case.h5"), layout, MPI_COMM_WORLD);

  MPI_Comm halves = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, world_rank() % 2, 0, &halves);
  expect_all(directory.file("case.h5"), layout, halves);
  expect_all(directory.file("case.h5"), layout, MPI_COMM_SELF);

  MPI_Comm_free(&halves);
}

std::string file_sha256(const std::string& path) { return file_range_sha256(path, 0, static_cast<std::int64_t>(std::filesystem::file_size(path))); }

TEST(RoundTrip, WritesTheSameDataForAnyNumberOfRanks) {
  const SharedDirectory directory;
  const FileLayout layout = full_layout(ElementType::kFloat16);

  const auto by_all = write_all(directory.file("all.h5"), layout, MPI_COMM_WORLD);

  if (world_rank() == 0) {
    EXPECT_EQ(write_all(directory.file("one.h5"), layout, MPI_COMM_SELF), by_all);
  }
}

/// On the same number of ranks: HDF5 may arrange its own blocks otherwise for another.
TEST(RoundTrip, WritesTheSameFileAtAnyTime) {
  const SharedDirectory directory;
  const FileLayout layout = full_layout(ElementType::kFloat16);
  write_all(directory.file("early.h5"), layout, MPI_COMM_WORLD);
  // HDF5 counts time in seconds, where it keeps it.
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));

  write_all(directory.file("late.h5"), layout, MPI_COMM_WORLD);

  if (world_rank() == 0) {
    EXPECT_EQ(file_sha256(directory.file("early.h5")), file_sha256(directory.file("late.h5")));
  }
}

TEST(RoundTrip, SumsAreThoseOfTheBytes) {
  const SharedDirectory directory;
  const FileLayout layout = full_layout(ElementType::kFloat64);

  const auto sums = write_all(directory.file("case.h5"), layout, MPI_COMM_WORLD);

  const auto file = CaseFile::open(directory.file("case.h5"), MPI_COMM_WORLD);
  ASSERT_EQ(sums.size(), layout.datasets.size());
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const auto [name, type] = layout.datasets[i];
    Sha256 expected;
    expected.add(whole_tensor(layout, name, type));
    EXPECT_EQ(sums[i], expected.finish()) << to_string(name);
    EXPECT_EQ(file->datasets()[i].sha256, sums[i]);
    EXPECT_EQ(dataset_sha256(*file, name), sums[i]);
  }
}

TEST(RoundTrip, RanksMayHaveNothing) {
  const SharedDirectory directory;
  const FileLayout layout = full_layout(ElementType::kFloat32);
  const bool is_last = world_rank() == world_size() - 1;
  const Range<SequenceIndex> tokens{SequenceIndex(0), SequenceIndex(is_last ? layout.shape.tokens : 0)};
  const auto q = part_of_tensor(layout, TensorName::kQ, ElementType::kFloat32, tokens);
  {
    const auto writer = FileWriter::create(directory.file("case.h5"), layout, false, MPI_COMM_WORLD);
    writer->write(TensorName::kQ, tokens, q);
    writer->commit();
  }

  const auto file = CaseFile::open(directory.file("case.h5"), MPI_COMM_WORLD);
  std::vector<std::byte> read(q.size());
  file->read(TensorName::kQ, tokens, read);

  EXPECT_EQ(read, q);
}

TEST(RoundTrip, KeepsAttributesInTheirOrder) {
  const SharedDirectory directory;
  std::vector<std::pair<std::string, std::string>> expected;
  for (int i = 20; i > 0; --i) expected.emplace_back("name" + std::to_string(i), "text " + std::to_string(i));
  expected.insert(expected.end(), {{"ranks", "4"}, {"seconds", "0.125"}, {"device", "2 × CPU"}, {"empty", ""}, {"version", "0.1.0"}});
  {
    const auto writer = FileWriter::create(directory.file("case.h5"), full_layout(ElementType::kFloat32), false, MPI_COMM_WORLD);
    // Ranks need not know the same value: the first rank's is kept.
    for (const auto& [name, value] : expected) writer->set_attribute(name, world_rank() == 0 ? value : "another");
    writer->set_attribute("ranks", "5");
    writer->set_attribute("ranks", "4");
    writer->commit();
  }

  auto attributes = CaseFile::open(directory.file("case.h5"), MPI_COMM_WORLD)->attributes();

  ASSERT_FALSE(attributes.empty());
  EXPECT_EQ(attributes.front().first, "spec");
  attributes.erase(attributes.begin());
  // What is set again comes last.
  std::erase(expected, std::pair<std::string, std::string>("ranks", "4"));
  expected.emplace_back("ranks", "4");
  EXPECT_EQ(attributes, expected);
}

TEST(RoundTrip, OverwritesWhenAsked) {
  const SharedDirectory directory;
  const FileLayout layout = full_layout(ElementType::kFloat32);
  write_all(directory.file("case.h5"), full_layout(ElementType::kFloat16), MPI_COMM_WORLD);
  {
    const auto writer = FileWriter::create(directory.file("case.h5"), layout, true, MPI_COMM_WORLD);
    EXPECT_EQ(CaseFile::open(directory.file("case.h5"), MPI_COMM_WORLD)->type(), ElementType::kFloat16) << "the old one stays until commit";
    writer->commit();
  }

  EXPECT_EQ(CaseFile::open(directory.file("case.h5"), MPI_COMM_WORLD)->type(), ElementType::kFloat32);
}

}  // namespace
}  // namespace hilbertring::test
