# What ./demo and ./check share: packages, environment, build. Sourced, not run; `root` is the repository.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
# What the program needs to be built; a container image is built with these alone (packaging/apptainer).
readonly program_packages=(build-essential cmake ninja-build pkg-config openmpi-bin libopenmpi-dev libhdf5-openmpi-dev libhwy-dev
  libboost-program-options-dev nlohmann-json3-dev libssl-dev)
# And its tests and benchmarks.
readonly build_packages=("${program_packages[@]}" ccache libgtest-dev libopenblas-dev python3-numpy python3-h5py)
# The python of the system, because the packages above belong to it.
readonly python=/usr/bin/python3
install=yes

say() { printf '\n== %s\n' "$*"; }
refuse() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 2
}

parse_arguments() {
  for argument in "$@"; do
    case $argument in
      --help | -h) usage && exit 0 ;;
      --no-install) install=no ;;
      *) refuse "unknown argument '$argument' (see --help)" ;;
    esac
  done
}

print_missing_packages() {
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
  done
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    command -v sudo >/dev/null || refuse "'$*' needs root and there is no sudo"
    sudo "$@"
  fi
}

# Installs those of the packages that are missing; touches neither apt nor the network when there are none.
ensure_packages() {
  command -v dpkg-query >/dev/null || refuse "needs Debian 12 or Ubuntu 24.04 (no dpkg-query here); README.md says how to build by hand"
  local missing
  mapfile -t missing < <(print_missing_packages "$@")
  ((${#missing[@]})) || return 0
  [[ $install == yes ]] || refuse "missing packages (--no-install was given): ${missing[*]}"
  say "installing: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# Open MPI refuses root, and more ranks than cores, unless told otherwise; a container is usually both.
allow_mpi_here() {
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
}

# build_preset NAME [TARGET...]
build_preset() {
  local preset=$1
  shift
  say "building preset $preset"
  (cd "$root" && cmake --preset "$preset" >/dev/null && cmake --build --preset "$preset" ${1:+--target "$@"})
}
