#!/usr/bin/env bash
# One point of a scaling experiment: cluster/scale runs this, as it is or as the task of an array.
#   scale-task.sh OUT ID...      the point is the ID whose number is SLURM_ARRAY_TASK_ID, else the first
# Leaves records/ID.json, or records/ID.failed with the exit status and the last line, and records/ID.log. Exit status: 1 if the point failed.
set -uo pipefail

out=$1
shift
ids=("$@")
id=${ids[${SLURM_ARRAY_TASK_ID:-0}]}
IFS=, read -r _ _ tokens ranks pattern curve placement < <(grep "^$id," "$out/points.csv")
mapfile -t options <"$out/options"
[[ -n ${options[0]:-} ]] || options=()
record=$out/records/$id

if [[ $pattern == --* ]]; then read -ra choice <<<"$pattern"; else choice=(--preset "$pattern"); fi
[[ -z $curve ]] || choice+=(--curve "$curve")
[[ -z $placement ]] || choice+=(--placement "$placement")
# Set by `sbatch --export=NONE`, it would keep the ranks from their environment.
unset SLURM_EXPORT_ENV
launch=(srun --mpi=pmix --kill-on-bad-exit=1)
[[ ${LAUNCHER:-srun} == srun ]] || launch=(mpirun -np "$ranks" --oversubscribe --bind-to none)
rm -f "$record.failed" "$record.json.partial"
"${launch[@]}" "$HILBERTRING" bench --tokens "$tokens" "${choice[@]}" "${options[@]}" --record "$record.json.partial" >"$record.log" 2>&1
status=$?
if ((status == 0)) && mv "$record.json.partial" "$record.json"; then
  echo "$id: $tokens tokens, $ranks ranks, $pattern: measured"
  exit 0
fi
{ echo "$status"; grep -a 'hilbertring:\|MISSED' "$record.log" | tail -n 1 || true; } >"$record.failed"
echo "$id: $tokens tokens, $ranks ranks, $pattern: failed with status $status (see $record.log)"
exit 1
