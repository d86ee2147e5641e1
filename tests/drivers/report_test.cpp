#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "drivers/csv.h"
#include "io/files.h"
#include "tests/drivers/program.h"

namespace hilbertring::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// A real record, and records made of it.
class Report : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const TemporaryDirectory directory;
    const std::string words =
        "bench --heads 2 --head-dim 16 --tokens 512 --preset longnet --ranks 2 --chunk 64 --repeats 3 --threads 1 --record b.json";
    const Outcome outcome = run_program(directory, words);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    record_ = Json::parse(read_text_file(directory.file("b.json")));
  }

  /// `seconds`: the median of both passes.
  static Json record(const std::string& label, std::int64_t tokens, std::int64_t ranks, double seconds, const std::string& curve = "identity") {
    Json changed = record_;
    if (!label.empty()) changed["label"] = label;
    changed["shape"]["tokens"] = tokens;
    changed["ranks"] = ranks;
    changed["spec"]["curve"] = curve;
    for (const char* pass : {"forward", "backward"}) {
      changed[pass]["ring"]["median_seconds"] = seconds;
      changed[pass]["ring"]["p95_seconds"] = 1.5 * seconds;
      changed[pass]["allowed_pairs"] = 1000 * tokens;
    }
    return changed;
  }

  void write(const std::string& name, const std::vector<Json>& records) const {
    fs::create_directories(directory_.file("records"));
    std::ofstream file(directory_.file("records/" + name));
    for (const Json& one : records) file << one.dump() << "\n";
  }
  void write_points(const std::string& lines) const { std::ofstream(directory_.file("points.csv")) << "label,series,kind,tokens,ranks\n" << lines; }

  /// What the report's table has in a column, for each of its lines.
  std::vector<std::string> column(const std::string& name) const {
    const std::vector<CsvRow> rows = parse_csv(read_text_file(directory_.file("out/report.csv")), "report.csv");
    const auto found = std::find(rows[0].cells.begin(), rows[0].cells.end(), name);
    if (found == rows[0].cells.end()) throw std::runtime_error("no column " + name);
    std::vector<std::string> cells;
    for (auto row = rows.begin() + 1; row != rows.end(); ++row) {
      EXPECT_EQ(row->cells.size(), rows[0].cells.size());
      cells.push_back(row->cells[static_cast<std::size_t>(found - rows[0].cells.begin())]);
    }
    return cells;
  }
  std::string text() const { return read_text_file(directory_.file("out/report.md")); }
  bool has(const std::string& name) const { return fs::exists(directory_.file(name)); }

  void expect_refusal_without_trace(const std::string& words, int status, const std::string& part) const {
    expect_refusal(run_program(directory_, "report " + words), status, part);
    EXPECT_FALSE(has("out"));
    EXPECT_FALSE(has(".out.partial"));
  }

  TemporaryDirectory directory_;

 private:
  static inline Json record_;
};

void expect_picture(const std::string& path) {
  EXPECT_EQ(read_text_file(path + ".png").substr(0, 8), "\x89PNG\r\n\x1a\n") << path;
  const std::string svg = read_text_file(path + ".svg");
  EXPECT_NE(svg.find("<svg "), std::string::npos) << path;
  EXPECT_NE(svg.find("</svg>"), std::string::npos) << path;
  EXPECT_NE(svg.find("<text "), std::string::npos) << path << " has its text as text";
}

TEST_F(Report, GathersRecordsIntoTablesAndPlots) {
  write("a.json", {record("", 4096, 1, 0.8), record("", 4096, 2, 0.4), record("", 4096, 4, 0.4)});
  write("b.json", {record("", 4096, 1, 0.8, "hilbert"), record("", 4096, 2, 0.5, "hilbert"), record("", 8192, 2, 0.8, "hilbert")});

  const Outcome outcome = run_program(directory_, "report records -o out");

  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(outcome.says("7 points: 7 measured, 0 failed, 0 missing")) << outcome.out << "a point of two series counts in both";
  for (const char* plot : {"time", "efficiency", "traffic", "hidden", "order"}) {
    expect_picture(directory_.file(std::string("out/") + plot));
    EXPECT_NE(text().find(std::string("(") + plot + ".png)"), std::string::npos) << plot;
  }
  EXPECT_FALSE(has("out/prediction.png")) << "nothing was predicted";
  EXPECT_EQ(directory_.names(), (std::vector<std::string>{".err", ".line", ".out", "out", "records"}));
}

TEST_F(Report, EfficiencyIsWorkPerTimeAndRankBesideThatOfFewestRanks) {
  write("a.json", {record("s1", 4096, 1, 0.8), record("s4", 4096, 4, 0.4), record("w2", 8192, 2, 1.0), record("w4", 16384, 4, 1.25)});
  write_points("s4,strong,strong,4096,4\ns1,strong,strong,4096,1\nw2,weak,weak,8192,2\nw4,weak,weak,16384,4\n");

  const Outcome outcome = run_program(directory_, "report records --points points.csv -o out");

  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(column("ranks"), (std::vector<std::string>{"1", "1", "4", "4", "2", "2", "4", "4"}));
  EXPECT_EQ(column("efficiency_percent"), (std::vector<std::string>{"100", "100", "50", "50", "100", "100", "80", "80"}));
  EXPECT_EQ(column("ideal_ms"), (std::vector<std::string>{"800", "800", "200", "200", "1000", "1000", "1000", "1000"}));
}

TEST_F(Report, ShowsPredictionsWithTheirErrors) {
  Json one = record("", 4096, 1, 0.8);
  one["forward"]["predicted_ms"] = 840.0;
  write("a.json", {one, record("", 4096, 2, 0.4)});

  const Outcome outcome = run_program(directory_, "report records -o out");

  ASSERT_EQ(outcome.status, 0) << outcome.err;
  expect_picture(directory_.file("out/prediction"));
  EXPECT_EQ(column("predicted_ms"), (std::vector<std::string>{"840", "", "", ""}));
  EXPECT_NE(text().find("840 ms (+5 %)"), std::string::npos) << text();
}

TEST_F(Report, FailedAndMissingPointsAreShown) {
  write("a.json", {record("p1", 4096, 1, 0.8)});
  write("b.json", {Json{{"program", "hilbertring bench"},
                        {"record_version", 1},
                        {"label", "p2"},
                        {"failed", {{"status", 2}, {"line", "hilbertring: too many ranks, | \"said\""}}}}});
  write_points("p1,S,strong,4096,1\np2,S,strong,4096,2\np4,S,strong,4096,4\n");

  const Outcome outcome = run_program(directory_, "report records --points points.csv -o out");

  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(outcome.says("3 points: 1 measured, 1 failed, 1 missing")) << outcome.out;
  EXPECT_EQ(column("state"), (std::vector<std::string>{"measured", "measured", "failed", "missing"}));
  EXPECT_EQ(column("reason")[2], "status 2: hilbertring: too many ranks, | \"said\"");
  EXPECT_NE(text().find("| p2 | S (strong) | failed | status 2: hilbertring: too many ranks, / \"said\" |"), std::string::npos) << text();
  EXPECT_NE(text().find("| p4 | S (strong) | missing | no trace |"), std::string::npos) << text();
  const std::string svg = read_text_file(directory_.file("out/time.svg"));
  for (const char* mark : {">failed<", ">missing<"}) EXPECT_NE(svg.find(mark), std::string::npos) << mark;
}

TEST_F(Report, OfFailedPointsAloneHasTables) {
  fs::create_directory(directory_.file("records"));
  write_points("p1,S,strong,4096,1\n");

  const Outcome outcome = run_program(directory_, "report records --points points.csv -o out");

  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(column("state"), (std::vector<std::string>{"missing"}));
}

TEST_F(Report, SameRecordsGiveTheSameBytes) {
  write("a.json", {record("", 4096, 1, 0.8), record("", 4096, 2, 0.4), record("", 8192, 2, 0.8, "hilbert"), record("", 8192, 4, 0.4, "hilbert")});

  ASSERT_EQ(run_program(directory_, "report records -o out").status, 0);
  ASSERT_EQ(run_program(directory_, "report records -o again").status, 0);

  EXPECT_EQ(run_shell(directory_, "diff -r out again").status, 0);
}

TEST_F(Report, DamagedRecordIsStatus3WithFileAndLine) {
  const Json good = record("", 4096, 1, 0.8);
  const std::vector<std::pair<std::function<void(Json&)>, std::string>> spoilt = {
      {[](Json& json) { json.erase("forward"); }, "'forward.ring.median_seconds' is missing"},
      {[](Json& json) { json["forward"]["ring"]["median_seconds"] = 0; }, "must be a number above 0"},
      {[](Json& json) { json["backward"]["sent_bytes"] = -1; }, "'backward.sent_bytes' must be a whole number of at least 0"},
      {[](Json& json) { json["shape"]["tokens"] = "many"; }, "'shape.tokens' must be a whole number"},
      {[](Json& json) { json["backward"]["ring"]["p95_seconds"] = 0.1; }, "must not be below the median"},
      {[](Json& json) { json["record_version"] = 2; }, "another version"},
      {[](Json& json) { json["program"] = "hilbertring run"; }, "is no record of 'hilbertring bench'"},
      {[](Json& json) { json["spec"] = "dense"; }, "'spec' must be an object"},
      {[](Json& json) { json["device"] = "GPU\nof mine"; }, "'device' must be a text without line breaks"},
      {[](Json& json) { json["spec"]["scale"] = "one\rhalf"; }, "'spec.scale' must be a text without line breaks"},
      {[](Json& json) { json["failed"] = true; }, "label' is missing"}};
  for (const auto& [spoil, part] : spoilt) {
    Json bad = good;
    spoil(bad);
    write("a.json", {record("", 8192, 2, 0.8), bad});

    SCOPED_TRACE(part);
    expect_refusal_without_trace("records -o out", 3, "records/a.json:2: ");
    expect_refusal_without_trace("records -o out", 3, part);
  }
  std::ofstream(directory_.file("records/a.json")) << good.dump().substr(0, 400) << "\n";
  expect_refusal_without_trace("records -o out", 3, "records/a.json:1: damaged record: it must be a JSON object");
}

TEST_F(Report, RecordsThatContradictEachOtherAreStatus3) {
  write("a.json", {record("p1", 4096, 1, 0.8), record("p1", 4096, 2, 0.8)});
  expect_refusal_without_trace("records -o out", 3, "records/a.json:2: label 'p1' stands in records/a.json:1 already");
  write("a.json", {record("", 4096, 1, 0.8), record("", 4096, 1, 0.7)});
  expect_refusal_without_trace("records -o out", 3, "same problem and ranks as records/a.json:1");
  write("a.json", {record("p1", 4096, 1, 0.8)});
  write_points("p2,S,strong,4096,1\n");
  expect_refusal_without_trace("records --points points.csv -o out", 3, "label 'p1' is not in the list of points");
  write_points("p1,S,strong,4096,2\n");
  expect_refusal_without_trace("records --points points.csv -o out", 3, "has 4096 tokens on 1 ranks, but point 'p1' is of 4096 tokens on 2 ranks");
}

TEST_F(Report, BadListOfPointsIsStatus3WithLine) {
  write("a.json", {record("p1", 4096, 1, 0.8)});
  const std::vector<std::pair<std::string, std::string>> lists = {
      {"p1,S,strange,4096,1\n", "points.csv:2: kind is 'strange'"},
      {"p1,S,strong,4096,0\n", "points.csv:2: ranks is '0'"},
      {"p1,S,strong,4k,1\n", "points.csv:2: tokens is '4k'"},
      {"p1,S,strong,4096\n", "points.csv:2: ranks is ''"},
      {"p1,S,strong,4096,1\np1,S,weak,4096,1\n", "points.csv:3: label is 'p1', but must stand once"},
      {"p1,\"S,strong,4096,1\n", "points.csv:2: quotes"},
      {"p1,S\x01,strong,4096,1\n", "points.csv:2: series must be UTF-8 without control characters"},
      {"p1,caf\xe9,strong,4096,1\n", "points.csv:2: series must be UTF-8 without control characters"},
      {"", "points.csv: has no points"}};
  for (const auto& [lines, part] : lists) {
    write_points(lines);
    expect_refusal_without_trace("records --points points.csv -o out", 3, part);
  }
}

TEST_F(Report, WarningsOfMatplotlibAreNoPlots) {
  write("a.json", {record("", 4096, 1, 0.8), record("", 4096, 2, 0.4)});

  const Outcome outcome = run_shell(directory_, std::string("MPLCONFIGDIR=/dev/null/none ") + kProgram + " report records -o out");

  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(outcome.says("wrote out: report.csv, report.md, time.png, ")) << outcome.out;
  EXPECT_EQ(text().find("MPLCONFIGDIR"), std::string::npos) << text();
}

TEST_F(Report, NamesOfSeriesAreDrawnAsTheyAre) {
  write("a.json", {record("p1", 4096, 1, 0.8), record("p2", 4096, 2, 0.4)});
  write_points("p1,_for $5 or $6{,strong,4096,1\np2,_for $5 or $6{,strong,4096,2\n");

  const Outcome outcome = run_program(directory_, "report records --points points.csv -o out");

  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(read_text_file(directory_.file("out/hidden.svg")).find("_for $5 or $6{"), std::string::npos);
}

TEST_F(Report, TakenDirectoryIsReplacedOnlyWithForceAndOnlyIfItIsAReport) {
  write("a.json", {record("", 4096, 1, 0.8), record("", 4096, 2, 0.4)});
  ASSERT_EQ(run_program(directory_, "report records -o out").status, 0);
  std::ofstream(directory_.file("out/report.md")) << "old";

  expect_refusal(run_program(directory_, "report records -o out"), 2, "give --force to replace a report");
  EXPECT_EQ(text(), "old");
  EXPECT_EQ(run_program(directory_, "report records -o out --force").status, 0);
  EXPECT_NE(text(), "old");
  for (const std::string other : {"out/thesis.tex", "out/photo.png"}) {
    std::ofstream(directory_.file(other)) << "mine";
    expect_refusal(run_program(directory_, "report records -o out --force"), 2, "holds other things than a report");
    EXPECT_TRUE(has(other));
    fs::remove(directory_.file(other));
  }
}

TEST_F(Report, ForceKnowsEveryPlotOfAReport) {
  // Two orders, all kinds of series, predictions: all plots that there are.
  std::vector<Json> records;
  for (const std::string curve : {"identity", "hilbert"}) {
    for (const auto& [tokens, ranks] : {std::pair(4096, 1), std::pair(4096, 2), std::pair(8192, 1)}) {
      records.push_back(record("", tokens, ranks, 0.5, curve));
      records.back()["forward"]["predicted_ms"] = 450.0;
    }
  }
  write("a.json", records);

  ASSERT_EQ(run_program(directory_, "report records -o out").status, 0);
  for (const char* plot : {"time", "efficiency", "sequence", "traffic", "hidden", "prediction", "order"}) {
    expect_picture(directory_.file(std::string("out/") + plot));
  }
  const Outcome outcome = run_program(directory_, "report records -o out --force");

  EXPECT_EQ(outcome.status, 0) << outcome.err;
}

TEST_F(Report, WithoutMatplotlibTablesAreWrittenAndOneLineSaysWhatIsMissing) {
  write("a.json", {record("", 4096, 1, 0.8), record("", 4096, 2, 0.4)});

  expect_refusal(run_program(directory_, "report records -o out --python no-such-python"), 4,
                 "out has tables, but no plots: no python3 with matplotlib");

  EXPECT_EQ(column("ranks").size(), 4U);
  EXPECT_EQ(text().find(".png"), std::string::npos);
  EXPECT_FALSE(has("out/.plots.log"));
}

TEST_F(Report, UsageIsStatus2AndUnreadableInputStatus3) {
  write("a.json", {record("", 4096, 1, 0.8)});
  fs::create_directory(directory_.file("empty"));

  expect_refusal_without_trace("", 2, "report needs RECORDS...");
  expect_refusal_without_trace("records", 2, "report needs --output");
  expect_refusal_without_trace("records -o /", 2, "'/' is not the name of a directory");
  expect_refusal_without_trace("none.json -o out", 3, "none.json: can't be read");
  expect_refusal_without_trace("empty -o out", 3, "empty: holds no records");
  expect_refusal_without_trace("records -o none/out", 4, "none/out: can't be written");
  expect_refusal_without_trace("records records/a.json -o out", 3, "same problem and ranks");
}

}  // namespace
}  // namespace hilbertring::test
