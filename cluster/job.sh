#!/usr/bin/env bash
#SBATCH --job-name=hilbertring
#SBATCH --open-mode=append
# One run as a batch job: one task per rank, under srun or mpirun. See --help.
set -euo pipefail

usage() {
  cat <<'HELP'
cluster/job.sh: runs a case on the ranks of a Slurm job.
  sbatch -N 2 --ntasks-per-node=4 [--gpus-per-task=1] cluster/job.sh CASE.h5 RESULT.h5 [OPTION of `hilbertring run`]...
  sbatch --array=0-5 ... cluster/job.sh case-%a.h5 result-%a.h5        an array: %a is the task's number in it
One task is one rank, as many on every node (--ntasks-per-node: without it Slurm may place 3 and 1); with GPUs ask for one per task (with mpirun:
--gpus-per-node, since a remote node's ranks would see one GPU only).
Works with --export=NONE. Variables, each with a default:
  HILBERTRING      the program; else `hilbertring` on PATH
  LAUNCHER         srun (pmix) or mpirun; else srun
  FORCE            1: replace RESULT.h5
Beside the result RESULT.h5.job/ keeps what the job was: version, environment, modules, nodes, the case's description and the output.
Exit status: that of `hilbertring run`; 2 where the request itself can't be right, before anything runs.
HELP
}

refuse() {
  printf 'job.sh: %s\n' "$*" >&2
  exit 2
}

[[ ${1:-} != --help && ${1:-} != -h ]] || { usage; exit 0; }
(($# >= 2)) || refuse "needs CASE.h5 and RESULT.h5 (see --help)"
[[ -n ${SLURM_JOB_ID:-} ]] || refuse "runs inside a Slurm job: sbatch cluster/job.sh ... (see --help)"
array_task=${SLURM_ARRAY_TASK_ID:-}
input=${1//%a/$array_task}
result=${2//%a/$array_task}
shift 2
program=$(command -v "${HILBERTRING:-hilbertring}") || refuse "no program '${HILBERTRING:-hilbertring}': set HILBERTRING or PATH"
launcher=${LAUNCHER:-srun}
tasks=${SLURM_NTASKS:-1}
[[ -r $input ]] || refuse "no case '$input' that can be read on $(hostname)"
[[ $launcher == srun || $launcher == mpirun ]] || refuse "LAUNCHER is '$launcher', but must be srun or mpirun"

# GPUs that were asked for must be one per rank: two ranks on one would be refused by the program, after the queue; idle ones cost somebody.
gpus_per_node=${SLURM_GPUS_ON_NODE:-0}
if ((gpus_per_node > 0)); then
  gpus=$((gpus_per_node * ${SLURM_JOB_NUM_NODES:-1}))
  ((gpus == tasks)) || refuse "$tasks tasks and $gpus GPUs were asked for; each task is a rank and needs one GPU of its own"
fi

keep=$result.job
mkdir -p "$keep"
"$program" --version >"$keep/version.txt"
env | sort >"$keep/environment.txt"
{ module list 2>&1 || echo "no modules here"; } >"$keep/modules.txt"
scontrol show hostnames "${SLURM_JOB_NODELIST:-}" >"$keep/nodes.txt" 2>/dev/null || true
OMPI_MCA_ess_singleton_isolated=1 "$program" info "$input" --ranks "$tasks" >"$keep/case.txt"

# Set by `sbatch --export=NONE`, it would keep the ranks from their environment.
unset SLURM_EXPORT_ENV
launch=(srun --mpi=pmix --kill-on-bad-exit=1)
[[ $launcher == srun ]] || launch=(mpirun -np "$tasks")
"${launch[@]}" "$program" run "$input" -o "$result" ${FORCE:+--force} "$@" 2>&1 | tee "$keep/output.txt"
