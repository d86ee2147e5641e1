// Files that other programs wrote.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>

#include "io/checksum.h"
#include "io/float_types.h"
#include "tests/io/raw_case.h"

namespace hilbertring::test {
namespace {

constexpr Range<SequenceIndex> kAllTokens{SequenceIndex(0), SequenceIndex(12)};

std::vector<std::byte> read_all(CaseFile& file, TensorName name, std::size_t num_bytes) {
  std::vector<std::byte> bytes(num_bytes);
  file.read(name, kAllTokens, bytes);
  return bytes;
}

/// float16 as h5py builds it: fields of a float32 moved, then shrunk.
DatatypeHandle float16_of_h5py() {
  DatatypeHandle type = copy_of(H5T_IEEE_F32LE);
  H5Tset_fields(type.get(), 15, 10, 5, 0, 10);
  H5Tset_size(type.get(), 2);
  H5Tset_ebias(type.get(), 15);
  return type;
}

void set_type_of_inputs(RawCase& raw, const std::function<DatatypeHandle()>& type) {
  for (const char* name : {"q", "k", "v"}) raw.datasets[name].type = type;
}

TEST(ForeignCase, Float16OfH5pyIsReadBitForBit) {
  const TemporaryDirectory directory;
  RawCase raw;
  set_type_of_inputs(raw, float16_of_h5py);
  raw.datasets["q"].bytes = index_bytes(ElementType::kFloat16, 0, 12 * 4 * 8);
  raw.write(directory.file("case.h5"));

  const auto file = CaseFile::open(directory.file("case.h5"), MPI_COMM_SELF);

  EXPECT_EQ(file->type(), ElementType::kFloat16);
  EXPECT_EQ(file->shape(), (Shape{1, 12, 4, 2, 8}));
  EXPECT_EQ(file->specification().segment_lengths, std::vector<std::int64_t>{12});
  EXPECT_EQ(read_all(*file, TensorName::kQ, 12 * 4 * 8 * 2), raw.datasets["q"].bytes);
}

TEST(ForeignCase, BigEndianIsReadWithTheSameBits) {
  for (const ElementType type : kElementTypes) {
    const TemporaryDirectory directory;
    RawCase raw;
    set_type_of_inputs(raw, [&] {
      DatatypeHandle datatype = stored_type(type);
      H5Tset_order(datatype.get(), H5T_ORDER_BE);
      return datatype;
    });
    const std::vector<std::byte> little = index_bytes(type, 0, 12 * 4 * 8);
    std::vector<std::byte> big = little;
    for (auto at = big.begin(); at != big.end(); at += size_bytes(type)) std::reverse(at, at + size_bytes(type));
    raw.datasets["q"].bytes = big;
    raw.write(directory.file("case.h5"));

    const auto file = CaseFile::open(directory.file("case.h5"), MPI_COMM_SELF);

    EXPECT_EQ(file->type(), type);
    EXPECT_EQ(read_all(*file, TensorName::kQ, little.size()), little) << to_string(type);
    Sha256 stored;
    stored.add(big);
    EXPECT_EQ(dataset_sha256(*file, TensorName::kQ), stored.finish()) << "the sum is of the bytes in the file";
  }
}

TEST(ForeignCase, FixedLengthSpecificationIsRead) {
  const TemporaryDirectory directory;
  RawCase raw;
  raw.spec = R"({"segment_lengths": [6, 12], "dilation_rates": [1, 2]})";
  raw.write_spec = [&](hid_t file) { write_string_attribute(file, "spec", raw.spec, false); };
  raw.write(directory.file("case.h5"));

  const auto file = CaseFile::open(directory.file("case.h5"), MPI_COMM_SELF);

  EXPECT_EQ(file->specification().dilation_rates, (std::vector<std::int64_t>{1, 2}));
}

TEST(ForeignCase, UnknownDatasetsAreIgnored) {
  const TemporaryDirectory directory;
  RawCase raw;
  raw.datasets["clean"] = {{3, 4, 3}, [] { return copy_of(H5T_STD_U8LE); }};
  raw.write(directory.file("case.h5"));

  const auto file = CaseFile::open(directory.file("case.h5"), MPI_COMM_SELF);

  EXPECT_EQ(file->datasets().size(), 3u);
}

TEST(ForeignCase, ChunkedAndCompressedDataIsRead) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("case.h5");
  RawCase raw;
  raw.datasets.erase("q");
  raw.write(path);
  const std::vector<std::byte> bytes = index_bytes(ElementType::kFloat32, 5, 12 * 4 * 8);
  {
    const FileHandle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    const PropertyHandle creation = make_properties(H5P_DATASET_CREATE);
    const std::array<hsize_t, 4> chunk = {1, 5, 4, 8}, sizes = {1, 12, 4, 8};
    H5Pset_chunk(creation.get(), 4, chunk.data());
    H5Pset_deflate(creation.get(), 1);
    const DataspaceHandle space(H5Screate_simple(4, sizes.data(), nullptr));
    const DatasetHandle dataset(H5Dcreate2(file.get(), "q", H5T_IEEE_F32LE, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT));
    ASSERT_GE(H5Dwrite(dataset.get(), H5T_IEEE_F32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()), 0);
  }

  const auto file = CaseFile::open(path, MPI_COMM_SELF);

  EXPECT_EQ(read_all(*file, TensorName::kQ, bytes.size()), bytes);
  Sha256 expected;
  expected.add(bytes);
  EXPECT_EQ(dataset_sha256(*file, TensorName::kQ), expected.finish());
}

TEST(ForeignCase, ResultOfTheOracleIsAResult) {
  // float64 throughout, lse too, no attribute but spec, no k.
  const TemporaryDirectory directory;
  RawCase raw;
  raw.datasets.clear();
  const auto float64 = [] { return copy_of(H5T_IEEE_F64LE); };
  raw.datasets["o"] = {{1, 12, 4, 8}, float64};
  raw.datasets["lse"] = {{1, 4, 12}, float64};
  raw.datasets["dq"] = {{1, 12, 4, 8}, float64};
  raw.datasets["dk"] = raw.datasets["dv"] = {{1, 12, 2, 8}, float64};
  raw.write(directory.file("result.h5"));

  const auto file = CaseFile::open(directory.file("result.h5"), MPI_COMM_SELF);

  EXPECT_EQ(file->shape(), (Shape{1, 12, 4, 2, 8}));
  EXPECT_EQ(file->type(), ElementType::kFloat64);
  EXPECT_FALSE(file->has(TensorName::kQ));
  EXPECT_TRUE(file->has(TensorName::kLse));
}

TEST(ForeignCase, OrderOfEitherByteOrderIsRead) {
  const std::vector<std::int64_t> order = {11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
  for (const bool is_big_endian : {false, true}) {
    const TemporaryDirectory directory;
    RawCase raw;
    raw.datasets["order"] = {{12}, [&] { return copy_of(is_big_endian ? H5T_STD_I64BE : H5T_STD_I64LE); }};
    raw.datasets["order"].bytes.resize(12 * 8);
    std::memcpy(raw.datasets["order"].bytes.data(), order.data(), 12 * 8);
    if (is_big_endian) {
      auto& bytes = raw.datasets["order"].bytes;
      for (auto at = bytes.begin(); at != bytes.end(); at += 8) std::reverse(at, at + 8);
    }
    raw.write(directory.file("case.h5"));

    const auto file = CaseFile::open(directory.file("case.h5"), MPI_COMM_SELF);

    ASSERT_TRUE(file->has_order());
    EXPECT_EQ(file->read_order(), order);
  }
}

TEST(ForeignCase, ThreadsMayShareOneFile) {
  const TemporaryDirectory directory;
  RawCase raw;
  raw.datasets["q"].bytes = index_bytes(ElementType::kFloat32, 0, 12 * 4 * 8);
  raw.write(directory.file("case.h5"));
  const auto file = CaseFile::open(directory.file("case.h5"), MPI_COMM_SELF);
  constexpr std::size_t kTokenBytes = 4 * 8 * 4;
  std::array<std::vector<std::byte>, 6> parts;

  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto begin = static_cast<std::int64_t>(2 * i);
      parts[i].resize(2 * kTokenBytes);
      for (int repeat = 0; repeat < 50; ++repeat) file->read(TensorName::kQ, {SequenceIndex(begin), SequenceIndex(begin + 2)}, parts[i]);
    });
  }
  for (std::thread& thread : threads) thread.join();

  std::vector<std::byte> whole;
  for (const auto& part : parts) whole.insert(whole.end(), part.begin(), part.end());
  EXPECT_EQ(whole, raw.datasets["q"].bytes);
}

TEST(ForeignCase, ErrorPrintingOfTheCallerIsLeftAsItWas) {
  H5E_auto2_t before = nullptr, after = nullptr;
  void *before_data = nullptr, *after_data = nullptr;
  H5Eget_auto2(H5E_DEFAULT, &before, &before_data);

  error_of_opening("/nonexistent/case.h5");

  H5Eget_auto2(H5E_DEFAULT, &after, &after_data);
  EXPECT_EQ(before, after);
  EXPECT_EQ(before_data, after_data);
}

}  // namespace
}  // namespace hilbertring::test
