#include <gtest/gtest.h>
#include <mpi.h>

#include <cmath>
#include <functional>
#include <limits>
#include <sstream>
#include <utility>

#include "core/buffer.h"
#include "drivers/loaded_tensor.h"
#include "drivers/slab.h"
#include "io/case_file.h"
#include "tests/drivers/program.h"

namespace hilbertring::test {
namespace {

using Change = std::function<void(TensorName name, float* elements)>;

/// A copy of a result (float32) with some of its elements changed, and perhaps another specification.
void copy_result(const std::string& from, const std::string& to, const Change& change, const std::function<void(Specification&)>& respecify = {}) {
  const auto source = CaseFile::open(from, MPI_COMM_SELF);
  FileLayout layout{.shape = source->shape(), .specification = source->specification(), .datasets = {}};
  layout.shape.kv_heads = 2;
  if (respecify) respecify(layout.specification);
  for (const DatasetInfo& info : source->datasets()) layout.datasets.emplace_back(info.name, info.type);
  const auto copy = FileWriter::create(to, layout, true, MPI_COMM_SELF);
  const Range<SequenceIndex> all = {SequenceIndex(0), SequenceIndex(layout.shape.tokens)};
  for (const auto& [name, type] : layout.datasets) {
    const Buffer bytes(slab_bytes(name, layout.shape, type, layout.shape.tokens), nullptr);
    source->read(name, all, bytes.bytes());
    change(name, reinterpret_cast<float*>(bytes.data()));
    copy->write(name, all, bytes.bytes());
  }
  copy->commit();
}

/// A good case and result in a directory; each test spoils the result in one way.
class VerifyCatches : public ::testing::Test {
 protected:
  void SetUp() override {
    generate_small_case(directory_, "c.h5");
    ASSERT_EQ(run_program(directory_, "run c.h5 -o r.h5").status, 0);
  }

  Shape shape() const { return {.batch = 1, .tokens = 600, .heads = 4, .kv_heads = 2, .head_dim = 16}; }
  std::size_t at(TensorName name, std::int64_t token, std::int64_t head, std::int64_t column) const {
    return static_cast<std::size_t>(element_index(name, shape(), 600, 0, token, head, column));
  }
  void spoil(const Change& change) const { copy_result(directory_.file("r.h5"), directory_.file("bad.h5"), change); }
  void expect_miss(const std::string& tensor, const std::string& place) const {
    const Outcome outcome = run_program(directory_, "verify bad.h5 c.h5");
    EXPECT_EQ(outcome.status, 1) << outcome.out << outcome.err;
    std::istringstream lines(outcome.out);
    bool is_named = false;
    for (std::string line; std::getline(lines, line);) {
      is_named = is_named || (line.starts_with(tensor + " ") && line.find("MISS") != std::string::npos && line.find(place) != std::string::npos);
    }
    EXPECT_TRUE(is_named) << outcome.out;
  }

  TemporaryDirectory directory_;
};

TEST_F(VerifyCatches, NothingInAFaithfulCopy) {
  spoil([](TensorName, float*) {});

  EXPECT_EQ(run_program(directory_, "verify bad.h5 c.h5").status, 0);
  EXPECT_EQ(run_program(directory_, "verify bad.h5 r.h5 --bits").status, 0);
}

TEST_F(VerifyCatches, OneKeyDroppedFromOneRow) {
  // Without key j a row's output is (o - p_j v_j) / (1 - p_j). The key of a token itself is always allowed in a dense segment.
  const auto file = CaseFile::open(directory_.file("c.h5"), MPI_COMM_SELF);
  const LoadedTensor q(*file, TensorName::kQ, shape()), k(*file, TensorName::kK, shape()), v(*file, TensorName::kV, shape());
  double score = 0;
  for (std::int64_t d = 0; d < 16; ++d) score += q.at(0, 301, 1, d) * k.at(0, 301, 0, d) / 4;
  double p = 0;

  spoil([&](TensorName name, float* elements) {
    // lse stays as it is: o alone must tell.
    if (name != TensorName::kO) return;
    const auto result = CaseFile::open(directory_.file("r.h5"), MPI_COMM_SELF);
    p = std::exp(score - LoadedTensor(*result, TensorName::kLse, shape()).at(0, 301, 1, 0));
    for (std::int64_t d = 0; d < 16; ++d) {
      float& element = elements[at(name, 301, 1, d)];
      element = static_cast<float>((element - p * v.at(0, 301, 0, d)) / (1 - p));
    }
  });

  ASSERT_GT(p, 1e-6);
  expect_miss("o", "token 301, head 1");
}

TEST_F(VerifyCatches, TwoTokensSwapped) {
  spoil([&](TensorName name, float* elements) {
    if (name != TensorName::kDv) return;
    for (std::int64_t d = 0; d < 16; ++d) std::swap(elements[at(name, 17, 1, d)], elements[at(name, 18, 1, d)]);
  });

  expect_miss("dv", "token 1");
}

TEST_F(VerifyCatches, AnotherScale) {
  ASSERT_EQ(run_program(directory_, "run c.h5 -o scaled.h5 --scale 0.2501").status, 0);

  copy_result(
      directory_.file("scaled.h5"), directory_.file("bad.h5"), [](TensorName, float*) {}, [](Specification& s) { s.scale.reset(); });

  for (const std::string tensor : {"o", "lse", "dq", "dk"}) expect_miss(tensor, "token");
}

TEST_F(VerifyCatches, ASmallErrorInEachTensor) {
  const std::vector<std::pair<TensorName, std::string>> tensors = {
      {TensorName::kO, "o"}, {TensorName::kLse, "lse"}, {TensorName::kDq, "dq"}, {TensorName::kDk, "dk"}, {TensorName::kDv, "dv"}};
  for (const auto& [target, name] : tensors) {
    const std::int64_t column = target == TensorName::kLse ? 0 : 7;
    spoil([&, spoilt = target](TensorName tensor, float* elements) {
      if (tensor == spoilt) elements[at(tensor, 599, 1, column)] += 1e-3f;
    });

    expect_miss(name, "token 599, head 1");
  }
}

TEST_F(VerifyCatches, Nan) {
  spoil([&](TensorName name, float* elements) {
    if (name == TensorName::kDq) elements[at(name, 0, 0, 0)] = std::numeric_limits<float>::quiet_NaN();
  });

  expect_miss("dq", "token 0, head 0, column 0: nan");
}

TEST_F(VerifyCatches, OneBit) {
  spoil([&](TensorName name, float* elements) {
    float& element = elements[at(name, 123, 1, name == TensorName::kLse ? 0 : 5)];
    if (name == TensorName::kDk) element = std::nextafter(element, 100.0f);
  });

  const Outcome outcome = run_program(directory_, "verify r.h5 bad.h5 --bits");

  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(outcome.says("batch 0, token 123, head 1, column 5")) << outcome.out;
  EXPECT_EQ(run_program(directory_, "verify bad.h5 c.h5").status, 0) << "one bit is far inside the bounds";
}

TEST_F(VerifyCatches, DifferencesFromExpectedValues) {
  spoil([&](TensorName name, float* elements) {
    if (name == TensorName::kO) elements[at(name, 5, 2, 3)] += 0.01f;
  });

  EXPECT_EQ(run_program(directory_, "verify r.h5 c.h5 --against r.h5").status, 0);
  EXPECT_EQ(run_program(directory_, "verify r.h5 c.h5 --against bad.h5").status, 1);
  EXPECT_EQ(run_program(directory_, "verify r.h5 c.h5 --against bad.h5 --sample 1").status, 0) << "unless the one row drawn is the spoilt one";
}

TEST_F(VerifyCatches, ResultsOfAnotherType) {
  ASSERT_EQ(run_program(directory_, "run c.h5 -o half.h5 --output-type float16").status, 0);

  const Outcome outcome = run_program(directory_, "verify r.h5 half.h5 --bits");

  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(outcome.says("float32 and float16")) << outcome.out;
}

TEST(Verify, RowsWithoutKeysAreExactlyZeroAndMinusInfinity) {
  // Offset head mod 4 under dilated queries leaves three of four rows of the only branch empty.
  const TemporaryDirectory directory;
  ASSERT_EQ(
      run_program(directory, "generate c.h5 --tokens 64 --heads 4 --head-dim 8 --gradient --segment-lengths 16 --dilation-rates 4 --offset head-mod")
          .status,
      0);
  ASSERT_EQ(run_program(directory, "run c.h5 -o r.h5 --chunk 8 --ranks 2").status, 0);

  const Outcome outcome = run_program(directory, "verify r.h5 c.h5");

  EXPECT_EQ(outcome.status, 0) << outcome.out;
  const auto result = CaseFile::open(directory.file("r.h5"), MPI_COMM_SELF);
  const LoadedTensor lse(*result, TensorName::kLse, {.tokens = 64, .heads = 4, .kv_heads = 4, .head_dim = 8});
  int num_empty = 0;
  for (std::int64_t token = 0; token < 64; ++token) num_empty += std::isinf(lse.at(0, token, 1, 0)) ? 1 : 0;
  EXPECT_EQ(num_empty, 48);
}

}  // namespace
}  // namespace hilbertring::test
