#!/usr/bin/env bash
# run.sh SOURCE BUILD MPIEXEC [CXX_FLAGS]: the installed package is complete, its batch scripts find each other, the example's result does not depend on the number of ranks,
# and bad input ends in one line and exit status 2.
set -euo pipefail
source=$1 build=$2 mpiexec=$3 flags=${4:-}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  printf 'install test: %s\n' "$*" >&2
  exit 1
}

build_example() {
  cmake --install "$build" --prefix "$work/prefix" >"$work/install.log" || fail "cmake --install failed: $(tail -n 5 "$work/install.log")"
  cp -r "$source/examples" "$work/examples"
  cmake -S "$work/examples" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS="$flags"
  cmake --build "$work/build"
}

scripts_find_each_other() {
  local cluster=$work/prefix/share/hilbertring/cluster
  HILBERTRING=$work/prefix/bin/hilbertring "$cluster/scale" "$cluster/scaling-cpu.csv" "$work/sweep" --ranks-per-node 4 --dry-run >"$work/points.txt" ||
    fail "the installed cluster/scale failed"
  grep -q "$cluster/scale-task.sh" "$work/points.txt" || fail "the installed cluster/scale does not submit the scale-task.sh beside it"
  [[ -x $cluster/scale-task.sh && -x $cluster/job.sh ]] || fail "scripts are missing in $cluster"
}

run_example() {
  local ranks=$1
  shift
  "$mpiexec" -np "$ranks" --oversubscribe "$work/build/attention_call" "$@"
}

first_element() { sed -n 's/^\(o\[[^,]*,[^,]*,[^,]*,[^=]*= [^,]*\),.*/\1/p'; }

results_agree() {
  local one two
  one=$(run_example 1 1024 | first_element)
  two=$(run_example 2 1024 | first_element)
  [[ -n $one ]] || fail "the example printed no element of o"
  [[ $one == "$two" ]] || fail "1 rank: '$one'; 2 ranks: '$two'"
  printf '%s on 1 and on 2 ranks\n' "$one"
}

bad_input_is_refused() {
  local status=0 lines
  run_example 2 100 >/dev/null 2>"$work/stderr" || status=$?
  ((status == 2)) || fail "100 tokens in chunks of 128 over 2 ranks: exit status $status, not 2"
  lines=$(grep -c '^attention_call: ' "$work/stderr" || true)
  ((lines == 1)) || fail "expected one line of error, got $lines: $(cat "$work/stderr")"
  grep '^attention_call: ' "$work/stderr"
}

build_example
scripts_find_each_other
results_agree
bad_input_is_refused
