#!/usr/bin/env bash
#SBATCH --job-name=hilbertring
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
# One run as a batch job: one task per rank, under srun or mpirun; before its time is over it saves its state and goes on later. See --help.
set -euo pipefail

usage() {
  cat <<'HELP'
cluster/job.sh: runs a case on the ranks of a Slurm job.
  sbatch -N 2 --ntasks-per-node=4 [--gpus-per-task=1] cluster/job.sh CASE.h5 RESULT.h5 [OPTION of `hilbertring run`]...
  sbatch --array=0-5 ... cluster/job.sh case-%a.h5 result-%a.h5        an array: %a is the task's number in it
One task is one rank, as many on every node (--ntasks-per-node: without it Slurm may place 3 and 1); with GPUs ask for one per task (with mpirun:
--gpus-per-node, since a remote node's ranks would see one GPU only). Ranks take the GPUs of their node in turn; each is bound to as many cores
as --cpus-per-task asks for.
Two minutes before its time limit the ranks save their state beside the result, and the job queues itself again; after the failure of a node Slurm
does that (ranks end sooner than Slurm notices: the job waits for it). Then the run goes on from the newest checkpoint, on as many ranks as there are,
with the bits of an uninterrupted run.
Works with --export=NONE. Variables, each with a default:
  HILBERTRING         the program; else `hilbertring` on PATH
  LAUNCHER            srun (pmix) or mpirun; else srun
  HILBERTRING_NICS    mlx5_0,mlx5_1: network cards of a node, which its ranks take in turn; else UCX and NCCL find the nearest
  FORCE               1: replace RESULT.h5; else 0
  CHECKPOINT_MINUTES  between checkpoints, for failures; else 10. 0: none, and no going on
  MAX_RESTARTS        how often the job may queue itself again; else 50
Beside the result RESULT.h5.job/ keeps what the job was: version, environment, modules, nodes, the case's description, what `plan --check` said
and the output.
Exit status: that of `hilbertring run` (5: it was stopped, its state is saved, and it does not queue itself again); 2 where the request itself can't be right, before anything runs.
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
# Of this task alone: one task's SLURM_JOB_ID is the number of the whole array.
job=$SLURM_JOB_ID
[[ -z $array_task ]] || job=${SLURM_ARRAY_JOB_ID}_$array_task

# Slurm warns this script alone (B: in --signal), and a signal that nobody minds would end it. The ranks are told through Slurm, or by mpirun, which
# hands SIGUSR1 on to all of them.
is_time_over=no
was_woken=no
ranks=
stop_ranks() {
  is_time_over=yes
  was_woken=yes
  [[ ${CHECKPOINT_MINUTES:-10} != 0 && -n $ranks ]] || return 0
  if [[ ${LAUNCHER:-srun} == srun ]]; then scancel --signal=TERM "$job"; else kill -USR1 "$ranks"; fi
}
trap stop_ranks USR1

input=${1//%a/$array_task}
result=${2//%a/$array_task}
shift 2
program=$(command -v "${HILBERTRING:-hilbertring}") || refuse "no program '${HILBERTRING:-hilbertring}': set HILBERTRING or PATH"
launcher=${LAUNCHER:-srun}
checkpoint_minutes=${CHECKPOINT_MINUTES:-10}
restarts=${SLURM_RESTART_COUNT:-0}
tasks=${SLURM_NTASKS:-1}
[[ ${MAX_RESTARTS:-50} =~ ^[0-9]+$ ]] || refuse "MAX_RESTARTS is '$MAX_RESTARTS', but must be a whole number"
[[ ${FORCE:-0} == [01] ]] || refuse "FORCE is '$FORCE', but must be 1 or 0"
[[ -r $input ]] || refuse "no case '$input' that can be read on $(hostname)"
[[ $launcher == srun || $launcher == mpirun ]] || refuse "LAUNCHER is '$launcher', but must be srun or mpirun"

# GPUs that were asked for must be one per rank: two ranks on one would be refused by the program, after the queue; idle ones cost somebody.
gpus=$((${SLURM_GPUS_ON_NODE:-0} * ${SLURM_JOB_NUM_NODES:-1}))
((gpus == 0 || gpus == tasks)) || refuse "$tasks tasks and $gpus GPUs were asked for; each task is a rank and needs one GPU of its own"

keep=$result.job
mkdir -p "$keep"
# A job that has written its result has nothing left to do, though Slurm started it once more or its ranks were ended a moment later.
begun=$keep/begun-$SLURM_JOB_ID.txt
leave_if_done() {
  [[ -e $begun && $result -nt $begun ]] || return 0
  rm -f "$result".checkpoint "$result".checkpoint-{new,old}
  echo "job.sh: '$result' is there already"
  exit 0
}
leave_if_done
[[ -e $begun ]] || { date >"$begun"; : >"$keep/output.txt"; }
"$program" --version >"$keep/version.txt"
env | sort >"$keep/environment.txt"
{ module list 2>&1 || echo "no modules here"; } >"$keep/modules.txt"
scontrol show hostnames "${SLURM_JOB_NODELIST:-}" >"$keep/nodes.txt" 2>/dev/null || true
OMPI_MCA_ess_singleton_isolated=1 "$program" info "$input" --ranks "$tasks" >"$keep/case.txt"

options=()
[[ ${FORCE:-0} == 0 ]] || options+=(--force)
[[ $checkpoint_minutes == 0 ]] || options+=(--resume --checkpoint-every "$checkpoint_minutes")
# What all ranks would refuse is refused by one process, in one line and with the same status, before they are launched.
OMPI_MCA_ess_singleton_isolated=1 "$program" plan "$input" --check --ranks "$tasks" --gpus "$gpus" "${options[@]}" "$@" >"$keep/check.txt"

# Set by `sbatch --export=NONE`, it would keep the ranks from their environment.
unset SLURM_EXPORT_ENV
# Cores: as many to each rank as --cpus-per-task asks for, which srun forgets and mpirun never knew (it would bind one or two ranks to a core each);
# without it, ranks of a node share its cores.
cores=${SLURM_CPUS_PER_TASK:-}
if [[ $launcher == srun ]]; then
  launch=(srun --mpi=pmix --kill-on-bad-exit=1)
  [[ -z $cores ]] || launch+=("--cpus-per-task=$cores" --cpu-bind=cores)
else
  launch=(mpirun -np "$tasks")
  [[ -z $cores ]] && launch+=(--bind-to none) || launch+=(--map-by "slot:PE=$cores" --bind-to core:overload-allowed)
fi

[[ $is_time_over == no || $checkpoint_minutes == 0 ]] ||
  refuse "the job was warned of its time limit before the run began: --time must be longer, or the warning shorter (--signal=B:USR1@SECONDS)"
exec 3> >(tee -a "$keep/output.txt")
tee=$!
"${launch[@]}" "$program" run "$input" -o "$result" "${options[@]}" "$@" >&3 2>&1 3>&- &
ranks=$!
exec 3>&-
# A signal ends `wait` before the ranks have ended.
while :; do
  was_woken=no
  wait "$ranks" && status=0 || status=$?
  [[ $was_woken == yes ]] || break
done
ranks=  # nobody is left to be told of the time limit
wait "$tee" || true

queue_again() {
  leave_if_done
  ((restarts < ${MAX_RESTARTS:-50})) || { echo "job.sh: started again $restarts times, as often as MAX_RESTARTS allows; the state is saved"; exit 5; }
  echo "job.sh: $1; the job queues itself again"
  scontrol requeue "$job"
  sleep 600  # until Slurm ends this script
}
# Behind `wait`, so that the warning of the time limit is heard at once: then the answer is no.
can_start_on() {
  env -u SLURM_CPUS_PER_TASK -u SLURM_NTASKS_PER_NODE timeout 60 srun --overlap --mpi=none "$@" true >/dev/null 2>&1 &
  wait $!
}
# Where not even this node can be asked, it is not the nodes.
do_nodes_answer() {
  can_start_on -N "$SLURM_JOB_NUM_NODES" -n "$SLURM_JOB_NUM_NODES" ||
    { [[ $is_time_over == no ]] && ! can_start_on -N 1 -n 1 -w "$SLURMD_NODENAME"; }
}

if [[ $checkpoint_minutes != 0 ]]; then
  # Ranks may notice that a node is gone long before Slurm does, and this script must not end as if the run had failed: Slurm starts the job again when
  # it gives the node up.
  was_away=no
  patience=$((SECONDS + 900))  # SlurmdTimeout is 300 by default
  while ((status != 0 && ${SLURM_JOB_NUM_NODES:-1} > 1 && SECONDS < patience)) && [[ $is_time_over == no ]] && ! do_nodes_answer; do
    [[ $was_away == yes ]] || echo "job.sh: a node does not answer; waiting for it, or for Slurm to give it up"
    was_away=yes
    sleep 5
  done
  [[ $was_away == no ]] || queue_again "a node was away"
  # Where one rank ends with 5 a moment before another, srun may kill the other, and reports that.
  [[ $is_time_over == no ]] || ((status != 5 && status <= 128)) || queue_again "the time is almost over"
fi
exit "$status"
