#include "drivers/subprocess.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace hilbertring {

namespace {

constexpr int kNoSuchProgram = 127;
constexpr int kEndedBySignal = 128;

/// Which files the program's streams are.
class FileActions {
 public:
  explicit FileActions(const std::string& output) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    posix_spawn_file_actions_adddup2(&actions_, STDOUT_FILENO, STDERR_FILENO);
  }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;

  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

int await_end(pid_t process, const std::string& name) {
  int status = 0;
  while (waitpid(process, &status, 0) < 0) {
    if (errno != EINTR) throw failure(name + ": can't be waited for: " + std::strerror(errno));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : kEndedBySignal + WTERMSIG(status);
}

}  // namespace

int run_subprocess(const std::vector<std::string>& words, const std::string& output) {
  std::vector<std::string> kept = words;
  std::vector<char*> arguments;
  arguments.reserve(kept.size() + 1);
  for (std::string& word : kept) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  const FileActions actions(output);
  pid_t process = 0;
  const int problem = posix_spawnp(&process, arguments[0], actions.get(), nullptr, arguments.data(), environ);
  if (problem == ENOENT || problem == EACCES) return kNoSuchProgram;
  if (problem != 0) throw failure(words[0] + ": can't be run: " + std::strerror(problem));
  return await_end(process, words[0]);
}

}  // namespace hilbertring
