// Rates of writing and reading a case file over MPI ranks, beside dd on the same file system in the same run.
//   mpirun -np 2 io_bench [--directory DIR] [--mebibytes 1024] [--repeats 3] [--json FILE]
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "io/case_file.h"
#include "io/run_record.h"

namespace hilbertring {
namespace {

constexpr std::array kInputs = {TensorName::kQ, TensorName::kK, TensorName::kV};

struct Options {
  std::string directory = ".";
  std::string json;
  std::int64_t mebibytes = 1024;
  int repeats = 3;
};

struct Job {
  Options options;
  int rank = 0;
  int num_ranks = 1;
  FileLayout layout;
  Range<SequenceIndex> tokens;
  std::vector<std::byte> rows;  ///< of one tensor: [1, end - begin, H, D]

  std::string file(const std::string& name) const { return options.directory + "/io_bench." + name; }
  std::int64_t case_bytes() const {
    const Shape& shape = layout.shape;
    return std::int64_t{kInputs.size()} * shape.tokens * shape.heads * shape.head_dim * size_bytes(ElementType::kFloat32);
  }
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--directory") options.directory = value;
    if (name == "--json") options.json = value;
    if (name == "--mebibytes") options.mebibytes = std::stoll(value);
    if (name == "--repeats") options.repeats = std::stoi(value);
  }
  if (options.mebibytes < 1 || options.repeats < 1) throw usage_error("--mebibytes and --repeats must be at least 1");
  return options;
}

Job make_job(int argc, char** argv) {
  Job job;
  job.options = parse(argc, argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &job.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &job.num_ranks);
  constexpr std::int64_t kHeads = 8, kHeadDim = 64, kTokenBytes = kHeads * kHeadDim * 4;
  const std::int64_t num_tokens = (job.options.mebibytes << 20) / (std::int64_t{kInputs.size()} * kTokenBytes);
  job.layout.shape = {1, num_tokens, kHeads, kHeads, kHeadDim};
  job.layout.specification.segment_lengths = {num_tokens};
  job.layout.specification.dilation_rates = {1};
  for (const TensorName name : kInputs) job.layout.datasets.emplace_back(name, ElementType::kFloat32);
  job.tokens = {SequenceIndex(num_tokens * job.rank / job.num_ranks), SequenceIndex(num_tokens * (job.rank + 1) / job.num_ranks)};
  job.rows.resize(static_cast<std::size_t>(job.tokens.size() * kTokenBytes));
  return job;
}

/// Calls f(word, what it must hold) for each 8 bytes of the rank's rows of a tensor: no two words of the case are equal.
template <class F>
void for_each_word(const Job& job, TensorName name, F f) {
  const std::uint64_t words_per_token = job.rows.size() / 8 / static_cast<std::uint64_t>(std::max<std::int64_t>(1, job.tokens.size()));
  const std::uint64_t first = (static_cast<std::uint64_t>(name) << 48) + static_cast<std::uint64_t>(job.tokens.begin.value) * words_per_token;
  for (std::size_t i = 0; i < job.rows.size() / 8; ++i) f(i * 8, (first + i) * 0x9e3779b97f4a7c15u);
}

void fill(Job& job, TensorName name) {
  for_each_word(job, name, [&](std::size_t at, std::uint64_t value) { std::memcpy(job.rows.data() + at, &value, 8); });
}

bool holds(const Job& job, TensorName name) {
  std::uint64_t difference = 0;
  for_each_word(job, name, [&](std::size_t at, std::uint64_t value) {
    std::uint64_t word = 0;
    std::memcpy(&word, job.rows.data() + at, 8);
    difference |= word ^ value;
  });
  return difference == 0;
}

/// Waits without spinning, so that dd has the cores to itself.
void quiet_barrier() {
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ibarrier(MPI_COMM_WORLD, &request);
  for (int is_complete = 0; is_complete == 0;) {
    MPI_Test(&request, &is_complete, MPI_STATUS_IGNORE);
    if (is_complete == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

/// Seconds of `step`, the slowest rank's, from a common start.
double seconds_of(const std::function<void()>& step) {
  quiet_barrier();
  const double begin = MPI_Wtime();
  step();
  double seconds = MPI_Wtime() - begin;
  quiet_barrier();
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return seconds;
}

double seconds_of_dd(const Job& job, const std::string& arguments) {
  return seconds_of([&] {
    if (job.rank != 0) return;
    const std::string command = "dd " + arguments + " bs=16M 2>/dev/null";
    if (std::system(command.c_str()) != 0) throw failure("'" + command + "' failed");
  });
}

/// Only the writing is timed, not the making of the numbers; creation, checksums, sync and renaming are.
double seconds_of_writing(Job& job) {
  std::unique_ptr<FileWriter> writer;
  double seconds = seconds_of([&] { writer = FileWriter::create(job.file("case.h5"), job.layout, true, MPI_COMM_WORLD); });
  for (const TensorName name : kInputs) {
    fill(job, name);
    seconds += seconds_of([&] { writer->write(name, job.tokens, job.rows); });
  }
  return seconds + seconds_of([&] { writer->commit(); });
}

struct Reading {
  double seconds = 0;
  bool is_right = true;
};

Reading read_case(Job& job) {
  Reading reading;
  std::unique_ptr<CaseFile> file;
  reading.seconds += seconds_of([&] { file = CaseFile::open(job.file("case.h5"), MPI_COMM_WORLD); });
  for (const TensorName name : kInputs) {
    std::fill(job.rows.begin(), job.rows.end(), std::byte{0});
    reading.seconds += seconds_of([&] { file->read(name, job.tokens, job.rows); });
    reading.is_right = holds(job, name) && reading.is_right;
  }
  int is_right = reading.is_right ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &is_right, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  reading.is_right = is_right != 0;
  return reading;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Seconds {
  std::vector<double> case_write, dd_write, case_read, dd_read;
};

void report(const Job& job, const std::string& what, const std::vector<double>& of_case, const std::vector<double>& of_dd) {
  const double megabytes = static_cast<double>(job.case_bytes()) / 1e6;
  const double ratio = median(of_dd) / median(of_case);
  std::printf("%-6s %12.0f %12.0f %8.2f\n", what.c_str(), megabytes / median(of_case), megabytes / median(of_dd), ratio);
  if (job.options.json.empty()) return;
  const nlohmann::ordered_json record = {{"benchmark", "io_" + what},
                                         {"bytes", job.case_bytes()},
                                         {"ranks", job.num_ranks},
                                         {"repeats", job.options.repeats},
                                         {"case_seconds", of_case},
                                         {"dd_seconds", of_dd},
                                         {"case_mb_per_s", megabytes / median(of_case)},
                                         {"dd_mb_per_s", megabytes / median(of_dd)},
                                         {"ratio", ratio}};
  append_record(job.options.json, record.dump());
}

int run(Job& job) {
  Seconds seconds;
  bool is_right = true;
  const std::string count = " count=" + std::to_string(std::max<std::int64_t>(1, job.options.mebibytes / 16));
  for (int repeat = 0; repeat < job.options.repeats; ++repeat) {
    seconds.dd_write.push_back(seconds_of_dd(job, "if=/dev/zero of=" + job.file("dd") + count + " conv=fsync"));
    if (job.rank == 0) unlink(job.file("dd").c_str());
    seconds.case_write.push_back(seconds_of_writing(job));
    const Reading warm_up = read_case(job);
    const Reading reading = read_case(job);
    is_right = warm_up.is_right && reading.is_right && is_right;
    seconds.case_read.push_back(reading.seconds);
    seconds.dd_read.push_back(seconds_of_dd(job, "if=" + job.file("case.h5") + " of=/dev/null"));
  }
  if (job.rank == 0) {
    unlink(job.file("case.h5").c_str());
    std::printf("case of %lld MiB, %d ranks, median of %d, in %s; writing to the synced end, reading from the page cache\n",
                static_cast<long long>(job.case_bytes() >> 20), job.num_ranks, job.options.repeats, job.options.directory.c_str());
    std::printf("%-6s %12s %12s %8s\n", "", "case MB/s", "dd MB/s", "ratio");
    report(job, "write", seconds.case_write, seconds.dd_write);
    report(job, "read", seconds.case_read, seconds.dd_read);
    if (!is_right) std::printf("WRONG: what was read differs from what was written\n");
  }
  return is_right ? 0 : 1;
}

}  // namespace
}  // namespace hilbertring

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int status = 0;
  try {
    hilbertring::Job job = hilbertring::make_job(argc, argv);
    status = hilbertring::run(job);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "io_bench: %s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 4);
  }
  MPI_Finalize();
  return status;
}
