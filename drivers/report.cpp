#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "core/error.h"
#include "drivers/commands.h"
#include "drivers/report_script.h"

namespace hilbertring {

namespace {

namespace fs = std::filesystem;

CommandSyntax syntax() {
  return {"report",
          "Gathers a scaling experiment (cluster/scale) into a CSV, a Markdown table and plots, PNG and SVG; needs python3 with matplotlib.",
          {"SWEEP"},
          {{"Report options",
            {{"output", "DIR", "the report", 'o'},
             {"force", "", "replace DIR if it exists"},
             {"python", "PROGRAM", "that has matplotlib; else python3 on PATH"}}}},
          "hilbertring report sweep -o sweep/report"};
}

/// A file or folder that goes when the object does.
class Temporary {
 public:
  explicit Temporary(fs::path path) : path_(std::move(path)) {}
  ~Temporary() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// The script's own exit status: it has said its line.
int run_script(const std::string& python, const fs::path& script, const std::string& sweep, const fs::path& out) {
  const pid_t child = ::fork();
  if (child < 0) throw failure("no process can be started for " + python);
  if (child == 0) {
    ::execlp(python.c_str(), python.c_str(), script.c_str(), sweep.c_str(), out.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status)) throw failure(python + " was ended by a signal");
  if (WEXITSTATUS(status) == 127) throw failure("there is no program '" + python + "': report needs python3 with matplotlib; --python names it");
  return WEXITSTATUS(status);
}

/// DIR is complete or as it was: the report is made beside it.
int report(Job& job, const Arguments& arguments) {
  job.require_one_rank("report");
  const std::string& sweep = arguments.operand(0);
  const fs::path out = fs::path(arguments.required_text("output")).lexically_normal();
  std::error_code ignored;
  if (fs::exists(out, ignored) && !arguments.has("force")) throw usage_error("'" + out.string() + "' exists; give --force to replace it");
  if (!fs::exists(fs::path(sweep) / "points.csv", ignored)) throw input_error(sweep + ": there is no points.csv in it");
  const Temporary beside(out.string() + ".partial");
  const Temporary script(out.string() + ".partial.py");
  fs::remove_all(beside.path(), ignored);
  std::ofstream(script.path()) << kReportScript;
  const int status = run_script(arguments.text("python").value_or("python3"), script.path(), sweep, beside.path());
  constexpr int kNoPlots = 4;
  if (status != 0 && status != kNoPlots) return status;
  fs::remove_all(out, ignored);
  std::error_code error;
  fs::rename(beside.path(), out, error);
  if (error) throw failure("'" + out.string() + "' can't be written: " + error.message());
  job.out() << "wrote " << out.string() << "\n";
  return status;
}

}  // namespace

Command report_command() { return {syntax(), report}; }

}  // namespace hilbertring
