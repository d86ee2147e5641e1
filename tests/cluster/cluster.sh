# What the tests in a Slurm cluster of this machine's own share: the cluster, jobs, expectations. Sourced by them with `program` set to a path.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
job_script=$here/../../cluster/job.sh
skip() { echo "skipped: batch jobs ($*)"; exit 77; }

require_cluster_tools() {
  local tool
  for tool in slurmctld slurmd munged ip mpirun; do
    PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || skip "no $tool (packages: slurmctld slurmd slurm-client munge iproute2 libpmix-dev openmpi-bin)"
  done
  ((EUID == 0)) || skip "not root"
  unshare --mount --pid --fork true 2>/dev/null || skip "namespaces are not allowed here"
}

# start_work: a directory of the test's own to work in, which ends with the test.
start_work() {
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
  work=$(mktemp -d /tmp/hilbertring-jobs.XXXXXX)
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  export HILBERTRING=$program
  failed=0
}

# start_cluster NODES: such a directory, and so many nodes, which end with the test, too. MINI_SLURM_DIR keeps two clusters apart.
start_cluster() {
  require_cluster_tools
  export MINI_SLURM_DIR=${MINI_SLURM_DIR:-/tmp/hilbertring-slurm} MINI_SLURM_CPUS=4 MINI_SLURM_GPUS=2 MINI_SLURM_NODE_TIMEOUT=10
  start_work
  trap '"$here/mini-slurm.sh" stop >/dev/null 2>&1; rm -rf "$work"' EXIT
  "$here/mini-slurm.sh" start "$1" || skip "the cluster did not come up"
  eval "$("$here/mini-slurm.sh" env)"
}

# submit SBATCH-OPTION... -- ARGUMENT OF job.sh...: prints the job's number.
submit() {
  local options=()
  while [[ $1 != -- ]]; do options+=("$1"); shift; done
  shift
  sbatch --parsable -o job-%A-%a.log "${options[@]}" "$job_script" "$@"
}

state_of() { scontrol -o show job "$1" 2>/dev/null | grep -o 'JobState=[A-Z_]*' | sort -u | cut -d= -f2; }

restarts_of() { scontrol -o show job "$1" 2>/dev/null | grep -o 'Restarts=[0-9]*' | head -1 | cut -d= -f2; }

# await JOB: until it is over, at most four minutes; prints the state.
await() {
  local state
  for _ in {1..1200}; do
    state=$(state_of "$1")
    case $state in
      COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL) echo "$state"; return ;;
    esac
    sleep 0.2
  done
  echo "still ${state//$'\n'/ }"
}

# expect NAME WANTED ACTUAL
expect() {
  [[ $2 == "$3" ]] && { printf 'passed  %s\n' "$1"; return; }
  printf 'FAILED  %s: %s instead of %s\n' "$1" "$3" "$2"
  tail -n 25 job-"${job:-}"-*.log */logs/*.log 2>/dev/null || true
  failed=1
}

status_of() { "$@" >>commands.log 2>&1 && echo 0 || echo $?; }
