#include "io/slabs.h"

#include <gtest/gtest.h>

#include <numeric>

#include "io/checksum.h"
#include "io/run_record.h"
#include "tests/io/raw_case.h"

namespace hilbertring::test {
namespace {

std::vector<Slab> pieces_of(const Slab& slab, std::int64_t element_bytes, std::int64_t max_bytes) {
  std::vector<Slab> pieces;
  visit_pieces(slab, element_bytes, max_bytes, [&](const Slab& piece) { pieces.push_back(piece); });
  return pieces;
}

/// Row-major indices, in a dataset of `sizes`, of the elements of a slab in the order of a buffer that holds it.
std::vector<hsize_t> elements_of(const Slab& slab, const std::vector<hsize_t>& sizes) {
  std::vector<hsize_t> elements;
  for (std::int64_t i = 0; i < slab.num_elements(); ++i) {
    auto rest = static_cast<hsize_t>(i);
    hsize_t index = 0, stride = 1;
    for (std::size_t dimension = sizes.size(); dimension-- > 0;) {
      index += (slab.start[dimension] + rest % slab.count[dimension]) * stride;
      rest /= slab.count[dimension];
      stride *= sizes[dimension];
    }
    elements.push_back(index);
  }
  return elements;
}

TEST(Pieces, HoldTheSlabOnceInTheOrderOfItsBuffer) {
  const std::vector<hsize_t> sizes = {3, 17, 2, 5};
  const Slab slab{{1, 4, 0, 0}, {2, 11, 2, 5}};
  for (const std::int64_t max_bytes : {1, 8, 24, 80, 100, 440, 880, 10000}) {
    std::vector<hsize_t> elements;
    for (const Slab& piece : pieces_of(slab, 8, max_bytes)) {
      EXPECT_LE(piece.num_elements() * 8, std::max<std::int64_t>(max_bytes, 8));
      const auto of_piece = elements_of(piece, sizes);
      elements.insert(elements.end(), of_piece.begin(), of_piece.end());
    }
    EXPECT_EQ(elements, elements_of(slab, sizes)) << max_bytes;
  }
}

TEST(Pieces, OfAnEmptySlabAreNone) { EXPECT_TRUE(pieces_of({{0, 3}, {5, 0}}, 4, 100).empty()); }

TEST(Pieces, OfAHugeSlabStayBelowTheCountsOfMpi) {
  const Slab slab{{0, 0, 0, 0}, {1, 1 << 27, 8, 128}};
  std::int64_t total = 0;
  for (const Slab& piece : pieces_of(slab, 4, kMaxTransferBytes)) {
    EXPECT_LE(piece.num_elements() * 4, kMaxTransferBytes);
    total += piece.num_elements();
  }
  EXPECT_EQ(total, std::int64_t{1} << 37);
}

TEST(Sha256, EqualsThePublishedSumOfAbc) {
  Sha256 sum;
  const std::string text = "abc";
  sum.add(std::as_bytes(std::span(text)).first(1));
  sum.add(std::as_bytes(std::span(text)).last(2));

  EXPECT_EQ(sum.finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(RunRecord, IsOneLineEach) {
  const TemporaryDirectory directory;
  append_record(directory.file("runs.json"), "{\"b\": 1,\n \"a\": 2}");
  append_record(directory.file("runs.json"), R"({"c": 3})");

  const auto bytes = bytes_of_file(directory.file("runs.json"));

  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "{\"b\":1,\"a\":2}\n{\"c\":3}\n");
}

TEST(RunRecord, RefusesWhatIsNoObject) {
  const auto error = error_of([] { append_record("/tmp/unused.json", "[1, 2"); });

  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->kind(), ErrorKind::kUsage);
}

TEST(RunRecord, NamesTheFileThatCanNotBeWritten) {
  const auto error = error_of([] { append_record("/nonexistent/runs.json", "{}"); });

  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->kind(), ErrorKind::kFailure);
  EXPECT_NE(std::string(error->what()).find("/nonexistent/runs.json"), std::string::npos) << error->what();
}

}  // namespace
}  // namespace hilbertring::test
