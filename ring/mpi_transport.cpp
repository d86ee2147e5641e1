#include "ring/mpi_transport.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <limits>
#include <numeric>
#include <optional>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "ring/reduction.h"

namespace hilbertring {

namespace {

std::string error_text(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) return "error code " + std::to_string(code);
  return {text.data(), static_cast<std::size_t>(length)};
}

void check(int code, const std::string& what, int rank, std::source_location where = std::source_location::current()) {
  if (code != MPI_SUCCESS) throw Error(ErrorKind::kFailure, "MPI", what + " on rank " + std::to_string(rank) + ": " + error_text(code), rank, where);
}

int narrow_count(std::int64_t count, const char* what) {
  if (count > std::numeric_limits<int>::max()) {
    throw failure(std::string(what) + ": " + std::to_string(count) + " elements; one MPI call takes at most 2147483647");
  }
  return static_cast<int>(count);
}

bool is_finalized() {
  int flag = 0;
  return MPI_Finalized(&flag) != MPI_SUCCESS || flag != 0;
}

/// A transfer as MPI sees it: one request per part. Owned by the transfer and by the transport, which pokes it and outlives it.
struct Operation {
  bool is_receive = false;
  int rank = 0;
  int peer = 0;
  int tag = 0;
  std::int64_t num_bytes = 0;
  std::vector<MPI_Request> requests = {};
  std::vector<MPI_Status> statuses = {};
  std::optional<Error> error = std::nullopt;
  bool is_complete = false;

  std::string description() const {
    return (is_receive ? "receive of " : "send of ") + std::to_string(num_bytes) + " bytes " + (is_receive ? "from" : "to") + " rank " +
           std::to_string(peer) + ", tag " + std::to_string(tag);
  }
  void post(MPI_Comm communicator, std::byte* data, std::int64_t max_message_bytes);
  void test();
  void wait();
  void cancel() noexcept;

 private:
  void finish(int code);
  void check_received_bytes();
};

void Operation::post(MPI_Comm communicator, std::byte* data, std::int64_t max_message_bytes) {
  std::int64_t offset = 0;
  do {
    const int count = static_cast<int>(std::min(num_bytes - offset, max_message_bytes));
    MPI_Request request = MPI_REQUEST_NULL;
    const int code = is_receive ? MPI_Irecv(data + offset, count, MPI_BYTE, peer, tag, communicator, &request)
                                : MPI_Isend(data + offset, count, MPI_BYTE, peer, tag, communicator, &request);
    check(code, description(), rank);
    requests.push_back(request);
    offset += count;
  } while (offset < num_bytes);
  statuses.resize(requests.size());
}

void Operation::test() {
  if (is_complete) return;
  int flag = 0;
  const int code = MPI_Testall(static_cast<int>(requests.size()), requests.data(), &flag, statuses.data());
  if (flag != 0 || code != MPI_SUCCESS) finish(code);
}

void Operation::wait() {
  if (is_complete) return;
  finish(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), statuses.data()));
}

// Errors are kept, not thrown: progress() meets them in the middle of someone else's work.
void Operation::finish(int code) {
  is_complete = true;
  if (code == MPI_ERR_IN_STATUS) {
    for (const MPI_Status& status : statuses) {
      if (status.MPI_ERROR != MPI_SUCCESS && status.MPI_ERROR != MPI_ERR_PENDING) code = status.MPI_ERROR;
    }
  }
  // A truncated receive tells in its status how long the message was. (Open MPI truncates messages to oneself without a word.)
  if (is_receive && (code == MPI_SUCCESS || code == MPI_ERR_TRUNCATE)) check_received_bytes();
  if (code != MPI_SUCCESS && !error) {
    error = Error(ErrorKind::kFailure, "MPI", description() + " on rank " + std::to_string(rank) + ": " + error_text(code), rank);
  }
}

void Operation::check_received_bytes() {
  std::int64_t received = 0;
  for (const MPI_Status& status : statuses) {
    int count = 0;
    if (MPI_Get_count(&status, MPI_BYTE, &count) == MPI_SUCCESS && count != MPI_UNDEFINED) received += count;
  }
  if (received == num_bytes) return;
  error = Error(ErrorKind::kFailure, "MPI",
                "message from rank " + std::to_string(peer) + " to rank " + std::to_string(rank) + ", tag " + std::to_string(tag) + ": " +
                    std::to_string(received) + " bytes were sent, " + std::to_string(num_bytes) + " were to be received; lengths must match",
                rank);
}

// A receive must not write into memory that is about to go away; a send can't be taken back.
void Operation::cancel() noexcept {
  if (is_complete || !is_receive || is_finalized()) return;
  for (MPI_Request& request : requests) {
    if (request != MPI_REQUEST_NULL) MPI_Cancel(&request);
  }
}

class MpiTransfer final : public PendingTransfer {
 public:
  explicit MpiTransfer(std::shared_ptr<Operation> operation) : operation_(std::move(operation)) {}
  MpiTransfer(const MpiTransfer&) = delete;
  MpiTransfer& operator=(const MpiTransfer&) = delete;
  ~MpiTransfer() override {
    if (operation_) operation_->cancel();
  }

  bool is_complete() override {
    if (operation_) operation_->test();
    return !operation_ || operation_->is_complete;
  }
  void wait() override {
    if (!operation_) return;
    const auto operation = std::exchange(operation_, nullptr);
    operation->wait();
    if (operation->error) throw *operation->error;
  }

 private:
  std::shared_ptr<Operation> operation_;
};

class MpiTransport final : public Transport {
 public:
  MpiTransport(MPI_Comm communicator, std::int64_t max_message_bytes);
  MpiTransport(const MpiTransport&) = delete;
  MpiTransport& operator=(const MpiTransport&) = delete;
  ~MpiTransport() override;

  std::string name() const override { return "mpi"; }
  Rank rank() const override { return Rank(rank_); }
  std::int64_t num_ranks() const override { return num_ranks_; }

  Transfer send(std::span<const std::byte> bytes, Rank to, int tag) override;
  Transfer receive(std::span<std::byte> bytes, Rank from, int tag) override;
  void progress() override;

  void barrier() override { check(MPI_Barrier(communicator_), "barrier", rank_); }
  void all_reduce(std::span<std::int64_t> values, Reduction reduction) override;
  void all_reduce(std::span<double> values, Reduction reduction) override;
  std::vector<std::string> all_gather(const std::string& text) override;
  std::int64_t sent_bytes() const override { return sent_bytes_; }

 private:
  Transfer start(Operation&& operation, std::byte* data);

  MPI_Comm communicator_ = MPI_COMM_NULL;
  std::int64_t max_message_bytes_;
  int rank_ = 0;
  int num_ranks_ = 1;
  int num_exceptions_ = std::uncaught_exceptions();
  std::int64_t sent_bytes_ = 0;
  std::vector<std::shared_ptr<Operation>> under_way_;
};

MpiTransport::MpiTransport(MPI_Comm communicator, std::int64_t max_message_bytes) : max_message_bytes_(max_message_bytes) {
  if (max_message_bytes < 1 || max_message_bytes > kMaxMpiMessageBytes) {
    throw usage_error("longest MPI message is " + std::to_string(max_message_bytes) + " bytes; it must be 1 to " +
                      std::to_string(kMaxMpiMessageBytes));
  }
  check(MPI_Comm_rank(communicator, &rank_), "rank of the communicator", -1);
  check(MPI_Comm_dup(communicator, &communicator_), "duplicate of the communicator", rank_);
  check(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "error handler", rank_);
  check(MPI_Comm_size(communicator_, &num_ranks_), "size of the communicator", rank_);
}

// While an exception unwinds the stack the other ranks may be anywhere, and freeing a communicator is collective: the job's end frees it then.
MpiTransport::~MpiTransport() {
  if (is_finalized() || std::uncaught_exceptions() > num_exceptions_) return;
  for (const auto& operation : under_way_) {
    if (operation->is_complete) continue;
    for (MPI_Request& request : operation->requests) {
      if (request != MPI_REQUEST_NULL) MPI_Request_free(&request);
    }
  }
  MPI_Comm_free(&communicator_);
}

Transfer MpiTransport::send(std::span<const std::byte> bytes, Rank to, int tag) {
  const auto num_bytes = static_cast<std::int64_t>(bytes.size());
  if (to.value != rank_) sent_bytes_ += num_bytes;
  Operation operation{.is_receive = false, .rank = rank_, .peer = static_cast<int>(to.value), .tag = tag, .num_bytes = num_bytes};
  return start(std::move(operation), const_cast<std::byte*>(bytes.data()));  // MPI_Isend only reads
}

Transfer MpiTransport::receive(std::span<std::byte> bytes, Rank from, int tag) {
  const auto num_bytes = static_cast<std::int64_t>(bytes.size());
  return start({.is_receive = true, .rank = rank_, .peer = static_cast<int>(from.value), .tag = tag, .num_bytes = num_bytes}, bytes.data());
}

Transfer MpiTransport::start(Operation&& fresh, std::byte* data) {
  std::erase_if(under_way_, [](const auto& operation) { return operation->is_complete; });
  auto operation = std::make_shared<Operation>(std::move(fresh));
  under_way_.push_back(operation);
  operation->post(communicator_, data, max_message_bytes_);
  return std::make_unique<MpiTransfer>(std::move(operation));
}

void MpiTransport::progress() {
  for (const auto& operation : under_way_) operation->test();
  std::erase_if(under_way_, [](const auto& operation) { return operation->is_complete; });
}

void MpiTransport::all_reduce(std::span<std::int64_t> values, Reduction reduction) {
  const MPI_Op op = reduction == Reduction::kSum ? MPI_SUM : reduction == Reduction::kMin ? MPI_MIN : MPI_MAX;
  const int count = narrow_count(static_cast<std::int64_t>(values.size()), "all_reduce");
  check(MPI_Allreduce(MPI_IN_PLACE, values.data(), count, MPI_INT64_T, op, communicator_), "all_reduce", rank_);
}

// Gathered and folded in the order of ranks, since MPI_Allreduce may associate as it likes.
void MpiTransport::all_reduce(std::span<double> values, Reduction reduction) {
  const int count = narrow_count(static_cast<std::int64_t>(values.size()), "all_reduce");
  std::vector<double> all(values.size() * static_cast<std::size_t>(num_ranks_));
  check(MPI_Allgather(values.data(), count, MPI_DOUBLE, all.data(), count, MPI_DOUBLE, communicator_), "all_reduce", rank_);
  std::copy_n(all.begin(), values.size(), values.begin());
  for (std::size_t r = 1; r < static_cast<std::size_t>(num_ranks_); ++r) {
    fold_reduction<double>(values, std::span(all).subspan(r * values.size(), values.size()), reduction);
  }
}

std::vector<std::string> MpiTransport::all_gather(const std::string& text) {
  const int length = narrow_count(static_cast<std::int64_t>(text.size()), "all_gather");
  std::vector<int> lengths(static_cast<std::size_t>(num_ranks_));
  check(MPI_Allgather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, communicator_), "all_gather of lengths", rank_);

  const std::int64_t total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  narrow_count(total, "all_gather");
  std::vector<int> begins(lengths.size());
  std::exclusive_scan(lengths.begin(), lengths.end(), begins.begin(), 0);
  std::string all(static_cast<std::size_t>(total), '\0');
  check(MPI_Allgatherv(text.data(), length, MPI_CHAR, all.data(), lengths.data(), begins.data(), MPI_CHAR, communicator_), "all_gather", rank_);

  std::vector<std::string> texts;
  for (std::size_t r = 0; r < lengths.size(); ++r) {
    texts.push_back(all.substr(static_cast<std::size_t>(begins[r]), static_cast<std::size_t>(lengths[r])));
  }
  return texts;
}

}  // namespace

std::unique_ptr<Transport> make_mpi_transport(MPI_Comm communicator, std::int64_t max_message_bytes) {
  return std::make_unique<MpiTransport>(communicator, max_message_bytes);
}

}  // namespace hilbertring
