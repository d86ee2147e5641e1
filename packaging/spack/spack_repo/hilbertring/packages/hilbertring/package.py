"""HilbertRing for Spack 1.0 or newer, from the source tree that this file is part of."""

from pathlib import Path

from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *

SOURCE_TREE = Path(__file__).resolve().parents[6]


class Hilbertring(CMakePackage, CudaPackage):
    """Exact long-context attention, forward and backward, over MPI ranks, with the same bits on any number of them."""

    git = SOURCE_TREE.as_uri()

    license("Apache-2.0")

    version("main", branch="main")

    variant("nccl", default=True, when="+cuda", description="Messages from GPU to GPU through NCCL")
    variant("tests", default=False, description="Build the tests")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("pkgconfig", type="build")

    # Where CMakeLists.txt asks for no version, the oldest that was tried: Debian 12's.
    depends_on("mpi@3:")
    depends_on("hdf5@1.10.8:+mpi")
    depends_on("highway@1.0.3:")
    depends_on("boost@1.74:+program_options")
    depends_on("nlohmann-json@3.11.2:")
    depends_on("openssl@3:")
    depends_on("googletest@1.12:", type="build", when="+tests")
    depends_on("cuda@12.4:", when="+cuda")
    # Its calls take a configuration (ncclCommInitRankConfig, ncclCommFinalize) since then.
    depends_on("nccl@2.14:", when="+nccl")

    conflicts("%gcc@:11", msg="HilbertRing is written in C++20 and was built with g++ 12 and 13")
    for value in CudaPackage.cuda_arch_values:
        if int(value.rstrip("af")) < 80:
            conflicts(f"cuda_arch={value}", msg="HilbertRing's kernels need compute capability 8.0")

    def cmake_args(self):
        arguments = [
            self.define_from_variant("HILBERTRING_TESTS", "tests"),
            self.define("HILBERTRING_BENCHMARKS", False),
            self.define_from_variant("HILBERTRING_CUDA", "cuda"),
        ]
        if self.spec.satisfies("+cuda"):
            arguments += self.cuda_args()
        return arguments

    def cuda_args(self):
        arguments = [
            self.define("CMAKE_REQUIRE_FIND_PACKAGE_NCCL", self.spec.satisfies("+nccl")),
            self.define("CMAKE_DISABLE_FIND_PACKAGE_NCCL", self.spec.satisfies("~nccl")),
        ]
        if self.spec.satisfies("+nccl"):
            arguments.append(self.define("NCCL_ROOT", self.spec["nccl"].prefix))
        # Without a choice CMake's default holds: code for Hopper, and PTX for all GPUs from 8.0 on.
        architectures = [value for value in self.spec.variants["cuda_arch"].value if value != "none"]
        if architectures:
            arguments.append(self.define("HILBERTRING_CUDA_ARCHITECTURES", sorted({code_for(value) for value in architectures})))
        return arguments


def code_for(architecture):
    """Hopper's kernels exist in code for 90a only: 90 stands for it."""
    return "90a-real" if architecture == "90" else f"{architecture}-real"
