"""Builds csrc and the one extension. Metadata is in pyproject.toml.

Each SIMD target is a static library, because each needs its own flags. Only the extension links them.

    FASTREG_DEBUG=1                              bounds checks in Cython, assertions and no optimization in C
    FASTREG_SANITIZE=address,undefined | thread  a sanitized build (implies debugging symbols)
    FASTREG_EMULATE_AMX=1                        "amx" and "avx512_bf16" in plain C and AVX2, to test them on any x86-64
"""

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.errors import CCompilerError, CompileError, LinkError, PlatformError

DEBUG = os.environ.get("FASTREG_DEBUG", "") not in ("", "0")
SANITIZE = os.environ.get("FASTREG_SANITIZE", "")
EMULATE_AMX = os.environ.get("FASTREG_EMULATE_AMX", "") not in ("", "0")

# -ffp-contract=off: a product and a sum are fused only where vec.h says so (same bits everywhere)
FLAGS = ["-std=c11", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Wshadow"]
FLAGS += ["-O1", "-g", "-UNDEBUG"] if DEBUG or SANITIZE else ["-O3", "-g0", "-DNDEBUG"]
LINK = []
if SANITIZE:
    FLAGS += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer"]
    LINK += [f"-fsanitize={SANITIZE}"]

if sys.platform == "darwin":  # a universal Python builds for two architectures at once, but a target belongs to one
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")

CLANG = "clang" in os.environ.get("CC", "clang" if sys.platform == "darwin" else "")

TARGETS = {"generic": []}
if platform.machine() in ("x86_64", "AMD64"):
    # -mprfchw: allows prefetches for writing (on older processors the instruction does nothing)
    TARGETS["avx2"] = ["-mavx2", "-mfma", "-mprfchw"]
    TARGETS["avx512"] = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mprfchw"]
    if not CLANG:
        TARGETS["avx512"] += ["-mprefer-vector-width=512"]
    for with_bf16 in ("amx", "avx512_bf16"):  # their headers ask for more
        TARGETS[with_bf16] = TARGETS["avx2" if EMULATE_AMX else "avx512"]
    if EMULATE_AMX:
        FLAGS += ["-DFR_EMULATE_AMX"]
elif platform.machine() in ("aarch64", "arm64"):
    # GCC's first scheduler hoists loads above a tile's multiply-adds, which pushes sums from registers to memory
    TARGETS["neon"] = [] if CLANG else ["-fno-schedule-insns"]

BITS = {"amx": (32,), "avx512_bf16": (32,)}  # of a target that does not have both dtypes

CORE = [f"csrc/{name}.c" for name in ("run", "pool", "cpu", "random", "tables", "hand_out", "text", "tuning")]
BELOW_KERNELS = ["csrc/augment.c"]
HEADERS = sorted(str(path) for path in Path("csrc").rglob("*.h"))


def library(name, sources, flags):
    return name, {"sources": sources, "cflags": FLAGS + flags, "obj_deps": {"": HEADERS}}


# The linker looks into each library once, in this order. So each may only call those after it.
LIBRARIES = [
    library("fastreg_core", CORE, ["-pthread"]),
    *(
        library(f"fastreg_{target}", [f"csrc/targets/{target}_f{bits}.c" for bits in BITS.get(target, (32, 64))], flags)
        for target, flags in TARGETS.items()
    ),
    library("fastreg_below_kernels", BELOW_KERNELS, []),
]

NO_COMPILER = "fastreg needs a C compiler (GCC or Clang) to build, and this one does not work: "


class BuildLibraries(build_clib):
    def build_libraries(self, libraries):
        build = super().build_libraries
        try:
            with ThreadPoolExecutor(os.cpu_count()) as side_by_side:  # each waits for a compiler of its own
                list(side_by_side.map(lambda one: build([one]), libraries))
        except (CCompilerError, CompileError, PlatformError, OSError) as error:
            sys.exit(NO_COMPILER + str(error).splitlines()[0])


class BuildExtension(build_ext):
    def run(self):
        self.run_command("build_clib")
        super().run()

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except (CCompilerError, CompileError, LinkError, PlatformError, OSError) as error:
            sys.exit(NO_COMPILER + str(error).splitlines()[0])


class SourceDistribution(sdist):
    """Adds what the build here does not name: targets of other architectures, helpers of the tests, benchmarks."""

    def add_defaults(self):
        super().add_defaults()
        for folder in ("csrc", "tests", "bench", "docs"):
            self.filelist.extend(str(path) for path in Path(folder).rglob("*.*") if "__pycache__" not in path.parts)
        self.filelist.extend(["CHANGELOG.md", "CONTRIBUTING.md"])


extension = Extension(
    "fastreg.machine._core",
    ["fastreg/machine/_core.pyx"],
    include_dirs=["csrc", numpy.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
    depends=["fastreg/machine/_c.pxd", *HEADERS] + [source for _, build in LIBRARIES for source in build["sources"]],
    extra_compile_args=[flag for flag in FLAGS if not flag.startswith("-W")],
    extra_link_args=["-pthread", *LINK],
    libraries=["m"],
)

# Cython's directives. setuptools passes this attribute on to cythonize.
extension.cython_directives = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
}

setup(
    libraries=LIBRARIES,
    ext_modules=[extension],
    cmdclass={"build_clib": BuildLibraries, "build_ext": BuildExtension, "sdist": SourceDistribution},
)
