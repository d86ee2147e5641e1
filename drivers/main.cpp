#include <string>
#include <vector>

#include "drivers/commands.h"
#include "drivers/job.h"

int main(int argc, char** argv) {
  hilbertring::Job job(argc, argv);
  try {
    const std::vector<std::string> words(argv + 1, argv + argc);
    return hilbertring::run_program(job, words);
  } catch (...) {
    return job.end_with(hilbertring::current_error());
  }
}
