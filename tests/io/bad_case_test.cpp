#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/io/raw_case.h"

namespace hilbertring::test {
namespace {

using Strings = std::vector<std::string>;

/// Opening must fail as bad input, on one line that names the file and every one of `parts`.
void expect_refusal(const std::string& path, const Strings& parts) {
  const auto error = error_of_opening(path);

  ASSERT_TRUE(error.has_value()) << "opened " << path;
  const std::string text = error->what();
  EXPECT_EQ(error->kind(), ErrorKind::kInput) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  EXPECT_NE(text.find(path), std::string::npos) << text;
  for (const std::string& part : parts) EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in: " << text;
}

void expect_refusal(const RawCase& raw, const Strings& parts) {
  const TemporaryDirectory directory;
  raw.write(directory.file("case.h5"));
  expect_refusal(directory.file("case.h5"), parts);
}

DatatypeHandle compound() {
  DatatypeHandle type(H5Tcreate(H5T_COMPOUND, 8));
  H5Tinsert(type.get(), "re", 0, H5T_IEEE_F32LE);
  H5Tinsert(type.get(), "im", 4, H5T_IEEE_F32LE);
  return type;
}

TEST(CaseFileRefuses, MissingFile) { expect_refusal("/nonexistent/case.h5", {"No such file"}); }

TEST(CaseFileRefuses, Directory) { expect_refusal("/tmp", {"no regular file"}); }

TEST(CaseFileRefuses, EmptyFile) {
  const TemporaryDirectory directory;
  std::ofstream(directory.file("case.h5")).close();
  expect_refusal(directory.file("case.h5"), {"is empty"});
}

TEST(CaseFileRefuses, FileThatIsNotHdf5) {
  const TemporaryDirectory directory;
  std::ofstream(directory.file("case.h5")) << std::string(4096, 'x');
  expect_refusal(directory.file("case.h5"), {"not an HDF5 file"});
}

TEST(CaseFileRefuses, TruncatedFile) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("case.h5");
  RawCase raw;
  raw.datasets["q"].bytes.resize(12 * 4 * 8 * 4);
  raw.write(path);
  const auto whole = std::filesystem::file_size(path);
  for (const auto kept : {whole - 1, whole / 2, std::uintmax_t{100}}) {
    std::filesystem::resize_file(path, kept);
    expect_refusal(path, {"is truncated", std::to_string(kept)});
  }
}

TEST(CaseFileRefuses, FileWithOnlyItsSignature) {
  const TemporaryDirectory directory;
  std::ofstream(directory.file("case.h5"), std::ios::binary) << std::string("\x89HDF\r\n\x1a\n");
  expect_refusal(directory.file("case.h5"), {"HDF5"});
}

TEST(CaseFileRefuses, MissingDataset) {
  for (const std::string name : {"q", "k", "v"}) {
    RawCase raw;
    raw.datasets.erase(name);
    expect_refusal(raw, {"'/" + name + "'", "missing"});
  }
}

TEST(CaseFileRefuses, FileWithoutTensors) {
  RawCase raw;
  raw.datasets.clear();
  expect_refusal(raw, {"'/q'", "missing"});
}

TEST(CaseFileRefuses, GroupInPlaceOfDataset) {
  RawCase raw;
  raw.datasets.erase("k");
  raw.write_spec = [](hid_t file) { H5Gclose(H5Gcreate2(file, "k", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)); };
  expect_refusal(raw, {"'/k'", "not a dataset"});
}

TEST(CaseFileRefuses, IntegerTensor) {
  RawCase raw;
  raw.datasets["q"].type = [] { return copy_of(H5T_STD_I32LE); };
  expect_refusal(raw, {"'/q'", "32-bit signed integer", "float16, bfloat16, float32 or float64"});
}

TEST(CaseFileRefuses, CompoundTensor) {
  RawCase raw;
  raw.datasets["v"].type = compound;
  expect_refusal(raw, {"'/v'", "compound"});
}

TEST(CaseFileRefuses, FloatOfAnotherFormat) {
  RawCase raw;
  raw.datasets["k"].type = [] {
    DatatypeHandle type = copy_of(H5T_IEEE_F32LE);
    H5Tset_ebias(type.get(), 126);
    return type;
  };
  expect_refusal(raw, {"'/k'", "32-bit floating point of another format"});
}

TEST(CaseFileRefuses, WrongNumberOfDimensions) {
  RawCase raw;
  raw.datasets["q"].shape = {12, 4, 8};
  expect_refusal(raw, {"'/q'", "[12, 4, 8]", "4 dimensions"});
}

TEST(CaseFileRefuses, LseOfTensorShape) {
  RawCase raw;
  raw.datasets["lse"] = {{1, 4, 12, 1}, [] { return copy_of(H5T_IEEE_F32LE); }};
  expect_refusal(raw, {"'/lse'", "[1, 4, 12, 1]", "[B, H, N]"});
}

TEST(CaseFileRefuses, LseOf16Bits) {
  RawCase raw;
  raw.datasets["lse"] = {{1, 4, 12}, [] {
                           DatatypeHandle type = copy_of(H5T_IEEE_F32LE);
                           H5Tset_fields(type.get(), 15, 10, 5, 0, 10);
                           H5Tset_size(type.get(), 2);
                           H5Tset_ebias(type.get(), 15);
                           return type;
                         }};
  expect_refusal(raw, {"'/lse'", "float16", "float32 or float64"});
}

TEST(CaseFileRefuses, HeadsThatKvHeadsDoNotDivide) {
  RawCase raw;
  raw.datasets["k"].shape = raw.datasets["v"].shape = {1, 12, 3, 8};
  expect_refusal(raw, {"4", "3"});
}

TEST(CaseFileRefuses, HeadDimensionsThatKernelsLack) {
  for (const hsize_t head_dim : {4, 12, 264}) {
    RawCase raw;
    raw.datasets["q"].shape = {1, 12, 4, head_dim};
    raw.datasets["k"].shape = raw.datasets["v"].shape = {1, 12, 2, head_dim};
    expect_refusal(raw, {std::to_string(head_dim)});
  }
}

TEST(CaseFileRefuses, EmptyTensors) {
  RawCase raw;
  raw.datasets["q"].shape = {1, 0, 4, 8};
  raw.datasets["k"].shape = raw.datasets["v"].shape = {1, 0, 2, 8};
  expect_refusal(raw, {"0"});
}

TEST(CaseFileRefuses, KeysAndValuesOfDifferentShapes) {
  RawCase raw;
  raw.datasets["v"].shape = {1, 12, 1, 8};
  expect_refusal(raw, {"'/v'", "[1, 12, 1, 8]", "[1, 12, 2, 8]"});
}

TEST(CaseFileRefuses, KeysOfAnotherLength) {
  RawCase raw;
  raw.datasets["k"].shape = {1, 13, 2, 8};
  expect_refusal(raw, {"'/k'", "[1, 13, 2, 8]", "[1, 12, 2, 8]"});
}

TEST(CaseFileRefuses, UpstreamGradientOfAnotherShape) {
  RawCase raw;
  raw.datasets["do"] = raw.datasets["k"];
  expect_refusal(raw, {"'/do'", "[1, 12, 2, 8]", "[1, 12, 4, 8]"});
}

TEST(CaseFileRefuses, InputsOfDifferentTypes) {
  RawCase raw;
  raw.datasets["v"].type = [] { return copy_of(H5T_IEEE_F64LE); };
  expect_refusal(raw, {"'/v'", "float64", "'/q'", "float32"});
}

TEST(CaseFileRefuses, OrderOf32Bits) {
  RawCase raw;
  raw.datasets["order"] = {{12}, [] { return copy_of(H5T_STD_I32LE); }};
  expect_refusal(raw, {"'/order'", "32-bit signed integer", "64-bit signed integer"});
}

TEST(CaseFileRefuses, UnsignedOrder) {
  RawCase raw;
  raw.datasets["order"] = {{12}, [] { return copy_of(H5T_STD_U64LE); }};
  expect_refusal(raw, {"'/order'", "64-bit unsigned integer"});
}

TEST(CaseFileRefuses, OrderOfAnotherLength) {
  RawCase raw;
  raw.datasets["order"] = {{11}, [] { return copy_of(H5T_STD_I64LE); }};
  expect_refusal(raw, {"'/order'", "[11]", "[12]"});
}

TEST(CaseFileRefuses, MissingSpecification) {
  RawCase raw;
  raw.write_spec = [](hid_t) {};
  expect_refusal(raw, {"attribute 'spec'", "missing"});
}

TEST(CaseFileRefuses, SpecificationThatIsANumber) {
  RawCase raw;
  raw.write_spec = [](hid_t file) {
    const DataspaceHandle space(H5Screate(H5S_SCALAR));
    const AttributeHandle attribute(H5Acreate2(file, "spec", H5T_STD_I32LE, space.get(), H5P_DEFAULT, H5P_DEFAULT));
    const int value = 7;
    H5Awrite(attribute.get(), H5T_NATIVE_INT, &value);
  };
  expect_refusal(raw, {"attribute 'spec'", "32-bit signed integer", "one string"});
}

TEST(CaseFileRefuses, UnknownKeyOfSpecification) {
  RawCase raw;
  raw.spec = R"({"segment_lengths": [12], "dilation_rates": [1], "casual": "none"})";
  expect_refusal(raw, {"attribute 'spec'", "casual", "causal"});
}

TEST(CaseFileRefuses, SpecificationThatIsNotJson) {
  RawCase raw;
  raw.spec = "{\n  \"segment_lengths\": [12],\n}";
  expect_refusal(raw, {"attribute 'spec'", "JSON"});
}

TEST(CaseFileRefuses, SpecificationThatDoesNotFitTheShape) {
  RawCase raw;
  raw.spec = R"({"segment_lengths": [4], "dilation_rates": [8]})";
  expect_refusal(raw, {"attribute 'spec'", "8", "4"});
}

}  // namespace
}  // namespace hilbertring::test
