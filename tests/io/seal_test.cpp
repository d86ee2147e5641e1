#include "io/seal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "io/case_file.h"
#include "tests/io/raw_case.h"

namespace hilbertring::test {
namespace {

constexpr std::int64_t kTensorBytes = std::int64_t{12} * 4 * 8 * 4;

void write_file(const std::string& path, const std::vector<std::byte>& bytes) {
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

class Seal : public testing::Test {
 protected:
  void SetUp() override {
    FileLayout layout;
    layout.shape = {1, 12, 4, 4, 8};
    layout.datasets = {{TensorName::kO, ElementType::kFloat32}};
    layout.specification.segment_lengths = {12};
    layout.specification.dilation_rates = {1};
    const auto writer = FileWriter::create(path, layout, false, MPI_COMM_SELF);
    writer->write(TensorName::kO, {SequenceIndex(0), SequenceIndex(12)}, index_bytes(ElementType::kFloat32, 0, kTensorBytes / 4));
    writer->set_attribute("next_lag", "17");
    writer->commit();
  }
  std::optional<Error> error_with(const std::vector<std::byte>& bytes) const {
    write_file(path, bytes);
    return error_of([&] { require_seal(path); });
  }
  /// Where the tensor lies, found by what it holds.
  std::size_t tensor_offset(const std::vector<std::byte>& bytes) const {
    const std::vector<std::byte> tensor = index_bytes(ElementType::kFloat32, 0, kTensorBytes / 4);
    return static_cast<std::size_t>(std::search(bytes.begin(), bytes.end(), tensor.begin(), tensor.end()) - bytes.begin());
  }

  TemporaryDirectory directory;
  const std::string path = directory.file("sealed.h5");
};

TEST_F(Seal, LeavesTheFileAsReadableAsItWas) {
  seal_file(path);

  EXPECT_NO_THROW(require_seal(path));
  EXPECT_FALSE(error_of_opening(path).has_value());
}

TEST_F(Seal, SeesADamagedByteAnywhereButInDatasets) {
  seal_file(path);
  const std::vector<std::byte> whole = bytes_of_file(path);
  const std::size_t begin = tensor_offset(whole), end = begin + kTensorBytes;
  ASSERT_LT(end, whole.size());

  for (std::size_t at = 0; at + 1 < whole.size(); at += at < begin || at >= end ? 7 : 1) {  // the last byte only ends the line
    std::vector<std::byte> damaged = whole;
    damaged[at] ^= std::byte{1};

    const auto error = error_with(damaged);

    ASSERT_EQ(error.has_value(), at < begin || at >= end) << "byte " << at;
    if (error) {
      ASSERT_EQ(error->kind(), ErrorKind::kInput) << error->what();
    }
  }
}

TEST_F(Seal, SeesThatTheEndIsMissing) {
  seal_file(path);
  const std::vector<std::byte> whole = bytes_of_file(path);

  for (const std::size_t size : {whole.size() - 3, whole.size() / 2, std::size_t{100}, std::size_t{0}}) {
    EXPECT_TRUE(error_with({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}).has_value()) << size << " bytes";
  }
}

TEST_F(Seal, IsMissingFromAFileThatWasNotSealed) {
  const auto error = error_of([&] { require_seal(path); });

  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->kind(), ErrorKind::kInput);
  EXPECT_EQ(error->what(), path + ": is not complete or is damaged: it does not end with a seal");
}

}  // namespace
}  // namespace hilbertring::test
