#!/usr/bin/python3
"""check_spack.py SOURCE: the Spack recipe against the build that it describes, without Spack.

The recipe is executed with stand-ins for the modules of Spack that it imports. What it declares is compared with CMake's own text: a dependency for
each package that is searched for, the same minimum versions, and options that exist. Then CMake configures the tree with the recipe's arguments.
Exit status: 0 if all agrees, 1 if not, with a line for each fault.
"""

import importlib.util
import re
import subprocess
import sys
import tempfile
import types
from pathlib import Path

# What CMake and Debian call the packages that Spack calls otherwise. None: comes with the compiler, or is only a convenience.
FROM_CMAKE = {"OpenMP": None, "Git": None, "MPI": "mpi", "PkgConfig": "pkgconfig", "libhwy": "highway", "hdf5-openmpi": "hdf5", "hdf5": "hdf5",
              "nlohmann_json": "nlohmann-json", "OpenSSL": "openssl", "Boost": "boost", "GTest": "googletest", "CUDAToolkit": "cuda", "NCCL": "nccl"}
FROM_DEBIAN = {"build-essential": "cxx", "cmake": "cmake", "ninja-build": None, "pkg-config": "pkgconfig", "openmpi-bin": "mpi", "libopenmpi-dev": "mpi",
               "libhdf5-openmpi-dev": "hdf5", "libhwy-dev": "highway", "libboost-program-options-dev": "boost",
               "nlohmann-json3-dev": "nlohmann-json", "libssl-dev": "openssl"}
# Directories of CMake files that the recipe's builds read; benchmarks are never built.
CMAKE_FILES = ("CMakeLists.txt", "cmake/*.cmake", "core/**/CMakeLists.txt", "hilbert/CMakeLists.txt", "ring/CMakeLists.txt", "io/CMakeLists.txt",
               "drivers/CMakeLists.txt")

faults = []


def expect(what, expected, found):
    if expected != found:
        faults.append(f"{what}: expected {expected}, found {found}")


def define(name, value):
    """As Spack writes it: a list with semicolons, a bool as ON or OFF."""
    if isinstance(value, bool):
        return f"-D{name}:BOOL={'ON' if value else 'OFF'}"
    return f"-D{name}:STRING={';'.join(value) if isinstance(value, (list, tuple)) else value}"


class FakeSpec:
    """The specification of one build: `satisfies` knows +variant and ~variant, `variants` the values of cuda_arch."""

    def __init__(self, on, architectures=("none",)):
        self.on = set(on)
        self.variants = {"cuda_arch": types.SimpleNamespace(value=tuple(architectures))}

    def satisfies(self, text):
        return (text[1:] in self.on) == (text[0] == "+")

    def __getitem__(self, name):
        return types.SimpleNamespace(prefix=f"/prefix/of/{name}")


class FakeCMakePackage:
    def __init__(self, spec):
        self.spec = spec

    define = staticmethod(define)

    def define_from_variant(self, name, variant):
        return define(name, variant in self.spec.on)


class FakeCudaPackage:
    cuda_arch_values = ("70", "75", "80", "90", "90a", "100f")


def record_directives(recorded):
    """A module spack.package whose directives note their arguments."""
    module = types.ModuleType("spack.package")
    for name in ("version", "variant", "depends_on", "conflicts", "license"):
        recorded[name] = []
        setattr(module, name, lambda *words, _notes=recorded[name], **options: _notes.append((words, options)))
    return module


def load_recipe(path):
    recorded = {}
    names = ("spack", "spack_repo", "spack_repo.builtin", "spack_repo.builtin.build_systems")
    modules = {name: types.ModuleType(name) for name in names}
    modules["spack.package"] = record_directives(recorded)
    for kind, fake in (("cmake", {"CMakePackage": FakeCMakePackage}), ("cuda", {"CudaPackage": FakeCudaPackage})):
        modules[f"spack_repo.builtin.build_systems.{kind}"] = module = types.ModuleType(kind)
        vars(module).update(fake)
    sys.modules.update(modules)
    specification = importlib.util.spec_from_file_location("hilbertring_recipe", path)
    recipe = importlib.util.module_from_spec(specification)
    sys.dont_write_bytecode = True
    specification.loader.exec_module(recipe)
    return recipe.Hilbertring, recorded


def split(text):
    """'boost@1.74:+program_options' -> ('boost', '1.74')"""
    name, version = re.match(r"([\w-]+)(?:@([\d.]+):)?", text).groups()
    return name, version


def cmake_text(source):
    text = "".join(file.read_text() for pattern in CMAKE_FILES for file in sorted(source.glob(pattern)))
    return re.sub(r"#.*", "", text)


def searched_packages(text):
    names = set(re.findall(r"find_package\((\w+)", text))
    for words in re.findall(r"pkg_(?:check|search)_module[s]?\((.*?)\)", text):
        names |= set(words.split()[1:]) - {"REQUIRED", "QUIET", "IMPORTED_TARGET"}
    return names


def check_dependencies(source, recorded, text):
    versions = dict(split(words[0]) for words, _ in recorded["depends_on"])
    searched = searched_packages(text)
    expect("packages that CMake searches for and this check can't name", set(), searched - set(FROM_CMAKE))
    needed = {FROM_CMAKE.get(name) for name in searched} - {None} | {"c", "cxx", "cmake"}
    expect("depends_on", sorted(needed), sorted(versions))

    listed = subprocess.run(["bash", "-c", f"source '{source}/tools/setup.sh'; printf '%s\\n' \"${{program_packages[@]}}\""], text=True,
                            capture_output=True, check=True).stdout.split()
    expect("packages of tools/setup.sh that this check can't name", set(), set(listed) - set(FROM_DEBIAN))
    expect("packages of tools/setup.sh without a depends_on", set(), {FROM_DEBIAN.get(name) for name in listed} - {None} - set(versions))

    expect("minimum of cmake", re.search(r"cmake_minimum_required\(VERSION ([\d.]+)", text)[1], versions.get("cmake"))
    expect("minimum of boost", re.search(r"find_package\(Boost ([\d.]+)", text)[1], versions.get("boost"))
    expect("minimum of cuda", re.search(r"HILBERTRING_CUDA_MINIMUM ([\d.]+)", text)[1], versions.get("cuda"))


def check_conditions(recorded):
    conditions = {split(words[0])[0]: options.get("when") for words, options in recorded["depends_on"] if "when" in options}
    expect("conditional dependencies", {"googletest": "+tests", "cuda": "+cuda", "nccl": "+nccl"}, conditions)
    expect("variants", ["nccl", "tests"], [words[0] for words, _ in recorded["variant"]])
    refused = {words[0] for words, _ in recorded["conflicts"]}
    expect("refused architectures", {"cuda_arch=70", "cuda_arch=75"}, {text for text in refused if text.startswith("cuda_arch")})


def is_known(name, text):
    searched = re.fullmatch(r"CMAKE_(?:REQUIRE|DISABLE)_FIND_PACKAGE_(\w+)", name)
    if searched:
        return f"find_package({searched[1]} QUIET)" in text
    return any(word in text for word in (f"option({name} ", f"set({name} "))


def check_arguments(package, text):
    """The arguments of each kind of build; those of the plain build with tests are returned."""
    cases = {
        (): {"HILBERTRING_TESTS": "OFF", "HILBERTRING_CUDA": "OFF"},
        ("tests",): {"HILBERTRING_TESTS": "ON", "HILBERTRING_CUDA": "OFF"},
        ("cuda", "nccl"): {"HILBERTRING_CUDA": "ON", "CMAKE_REQUIRE_FIND_PACKAGE_NCCL": "ON", "CMAKE_DISABLE_FIND_PACKAGE_NCCL": "OFF"},
        ("cuda",): {"HILBERTRING_CUDA": "ON", "CMAKE_REQUIRE_FIND_PACKAGE_NCCL": "OFF", "CMAKE_DISABLE_FIND_PACKAGE_NCCL": "ON"},
    }
    for on, expected in cases.items():
        values = dict(re.fullmatch(r"-D(\w+):\w+=(.*)", argument).groups() for argument in package(FakeSpec(on)).cmake_args())
        for name, value in expected.items():
            expect(f"{on}: {name}", value, values.get(name))
        # NCCL_ROOT is find_package's own.
        expect(f"{on}: arguments that CMake does not know", [], [name for name in values if name != "NCCL_ROOT" and not is_known(name, text)])
        expect(f"{on}: NCCL_ROOT", "nccl" in on, "NCCL_ROOT" in values)
    chosen = package(FakeSpec(("cuda", "nccl"), ("80", "90", "90a", "100"))).cmake_args()
    expect("architectures", True, define("HILBERTRING_CUDA_ARCHITECTURES", ["100-real", "80-real", "90a-real"]) in chosen)
    return package(FakeSpec(("tests",))).cmake_args()


def check_configuring(source, arguments):
    with tempfile.TemporaryDirectory() as build:
        # CMake warns of variables that were given to it and not used.
        run = subprocess.run(["cmake", "-S", source, "-B", build, *arguments], text=True, capture_output=True)
    expect("status of CMake with the recipe's arguments", 0, run.returncode)
    expect("warnings of CMake", "", "\n".join(line for line in run.stderr.splitlines() if "not used" in line))
    if run.returncode:
        faults.append(run.stderr.strip())


def main(source):
    source = Path(source).resolve()
    repository = source / "packaging/spack/spack_repo/hilbertring"
    namespace = re.search(r"^  namespace: (\w+)$", (repository / "repo.yaml").read_text(), re.M)
    expect("namespace in repo.yaml", repository.name, namespace and namespace[1])
    package, recorded = load_recipe(repository / "packages/hilbertring/package.py")
    expect("source tree", source.as_uri(), package.git)
    text = cmake_text(source)
    check_dependencies(source, recorded, text)
    check_conditions(recorded)
    check_configuring(source, check_arguments(package, text))
    for fault in faults:
        print(f"Spack recipe: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    sys.exit(main(sys.argv[1]))
