#!/usr/bin/env bash
#SBATCH --open-mode=append
# One point of a sweep, inside an array that cluster/scale submits: its benchmark, and a record of it whatever comes of it.
#   scale-task.sh ARRAY OUT PROGRAM srun|mpirun|here RATES [TASK]
# Line TASK (else the array task's number) of ARRAY has label, ranks and options of `bench`, with tabs between them. RATES may be empty.
set -uo pipefail

array=$1 out=$2 program=$3 launcher=$4 rates=$5 task=${6:-${SLURM_ARRAY_TASK_ID:-}}
[[ $task =~ ^[1-9][0-9]*$ ]] || { echo "scale-task.sh: TASK is '$task', but must be the number of a line" >&2; exit 2; }
IFS=$'\t' read -r label ranks options < <(sed -n "${task}p" "$array")
[[ -n ${options:-} ]] || { echo "scale-task.sh: $array has no line '$task'" >&2; exit 2; }
read -ra words <<<"$options"
record=$out/records/$label.json
partial=$out/records/.$label.partial
log=$out/logs/$label.log

# leave_failure STATUS LINE: the point's record until it has a better one. Written beside it, then renamed: a reader never sees half of it.
leave_failure() {
  local line
  line=$(printf '%s' "$2" | LC_ALL=C tr -cd '[:print:]' | cut -c1-300 | sed 's/[\\"]/\\&/g')
  printf '{"program":"hilbertring bench","record_version":1,"label":"%s","failed":{"status":%s,"line":"%s"}}\n' "$label" "$1" "$line" >"$partial"
  mv "$partial" "$record"
}

# What the program said, rather than what a launcher adds to it.
last_line() {
  grep -E '^hilbertring: |MISSED' "$log" | tail -1 | grep . || grep -m 1 '^mpirun has detected' "$log" || grep '[[:alpha:]]' "$log" | tail -1 | grep . || echo "it said nothing"
}

# A job that is killed, or whose node dies, can't say so later.
leave_failure null "started on $(hostname)${SLURM_JOB_ID:+ in job $SLURM_JOB_ID}, but its end was not seen"

# Cores as in job.sh.
cores=${SLURM_CPUS_PER_TASK:-}
case $launcher in
  srun)
    launch=(srun --mpi=pmix --kill-on-bad-exit=1 "--ntasks=$ranks")
    [[ -z $cores ]] || launch+=("--cpus-per-task=$cores" --cpu-bind=cores)
    ;;
  mpirun)
    launch=(mpirun -np "$ranks")
    [[ -z $cores ]] && launch+=(--bind-to none) || launch+=(--map-by "slot:PE=$cores" --bind-to core:overload-allowed)
    ;;
  # More ranks than cores are welcome where scaling is only tried out.
  here) launch=(mpirun -np "$ranks" --oversubscribe --bind-to none) ;;
esac
# Set by `sbatch --export=NONE`, it would keep the ranks from their environment.
unset SLURM_EXPORT_ENV
status=0
rm -f "$partial"
"${launch[@]}" "$program" bench "${words[@]}" ${rates:+--rates "$rates"} --label "$label" --record "$partial" >"$log" 2>&1 </dev/null || status=$?
if ((status == 0)) && [[ -s $partial ]]; then
  mv "$partial" "$record"
  echo "$label: measured"
else
  rm -f "$partial"
  leave_failure "$status" "$(last_line)"
  echo "$label: failed with status $status: $(last_line)"
  exit $((status == 0 ? 4 : status))
fi
