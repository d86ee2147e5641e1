#pragma once

#include <omp.h>

#include <cstdint>
#include <exception>

namespace hilbertring {

/// Calls task(index, thread) for index = 0 .. num_tasks-1, each on whichever thread is free, in ascending order of their beginnings. An exception of
/// a task is thrown again here (the first one caught), after the others have run.
template <class Task>
void for_each_task(int num_threads, std::int64_t num_tasks, Task&& task) {
  std::exception_ptr error;
#pragma omp parallel for num_threads(num_threads) schedule(dynamic, 1)
  for (std::int64_t index = 0; index < num_tasks; ++index) {
    try {
      task(index, omp_get_thread_num());
    } catch (...) {
#pragma omp critical(hilbertring_task_error)
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace hilbertring
