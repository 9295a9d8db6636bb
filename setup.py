"""Builds fastnn._engine, the Cython glue and the C sources in src_c/, each with the flags it needs; and libfastnn.

Everything that is not code is in pyproject.toml. Two builds of the same files give the same bytes, in whichever folder,
if SOURCE_DATE_EPOCH in the environment says what time the archives are to tell. More for people who work on fastnn:

    FASTNN_CFLAGS       flags added last to every C source in src_c/, e.g. "-g" or "-Wall -Wextra -Werror"
    FASTNN_HIGHEST_ISA  the last instruction set to build, e.g. "avx2": a shorter build than that of all
    FASTNN_OPENMP       "0" builds the serial library, even where the compiler has OpenMP
    FASTNN_LIBOMP       macOS, Windows: the folder of LLVM's OpenMP with include/ and lib/, if it is not found by itself
    FASTNN_SANITIZE     a list for -fsanitize, e.g. "address,undefined"; CONTRIBUTING.md says how to run such a build
"""

import gzip
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.errors import CompileError, LinkError

SOURCES = Path("src_c")
KERNELS = SOURCES / "kernels"  # a file an instruction set, with its flags
LIBRARY = SOURCES / "library"  # libfastnn: its functions, and what tells compilers of it
GENERATED = Path("build/generated")
INCLUDES = [str(SOURCES), "fastnn/include", str(GENERATED)]  # what embedders see is in the second

WINDOWS = sys.platform == "win32"

# No -ffast-math (linking with it changes the floating-point mode of the whole process, and it drops NaN checks) and no
# -march=native (the wheel runs on any processor of its architecture). What we can promise safely: nobody reads errno
# after a math function, and nobody unmasks floating-point exceptions.
COMMON_FLAGS = ["-std=c11", "-pthread", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math"]
RELEASE_FLAGS = ["-O3", "-g0"]
# Python's own flags hold -fwrapv, under which a signed overflow is no error: UBSan would never see one.
# -g1 has the lines that a report names; tracking variables through the unrolled kernels would take a third more time.
SANITIZE_FLAGS = ["-O1", "-g1", "-fno-wrapv", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]

# Kernels alone may fuse a multiplication and an addition, and see `omp simd` (but no OpenMP threads).
KERNEL_FLAGS = ["-ffp-contract=fast", "-fopenmp-simd"]
ENGINE_FLAGS = ["-ffp-contract=off"]

# The flags of kernels_<name>.c where the compiler's target is x86-64 or AArch64; elsewhere kernels_baseline.c is alone.
# cpu.c asks the processor for the same features before it picks a table.
X86_64_FLAGS = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"],
}
X86_64_FLAGS["avx512_vnni"] = [*X86_64_FLAGS["avx512"], "-mavx512vnni"]
X86_64_FLAGS["avx512_bf16"] = [*X86_64_FLAGS["avx512"], "-mavx512bf16"]
X86_64_FLAGS["amx_bf16"] = [*X86_64_FLAGS["avx512_bf16"], "-mamx-tile", "-mamx-bf16"]
AARCH64_FLAGS = {"neon_dotprod": ["-march=armv8.2-a+dotprod"], "neon_bf16": ["-march=armv8.2-a+bf16"]}
ARCHITECTURES = {"__x86_64__": X86_64_FLAGS, "__aarch64__": AARCH64_FLAGS}  # by the macro that compilers define
ARCHITECTURE_PROBE = "#if !defined({})\n#error another architecture\n#endif\nint probe;\n"

# autotestdict would add a public dictionary for doctests that has no place in the stub.
CYTHON_DIRECTIVES = {"language_level": 3, "autotestdict": False}

# Headers of Python that another package holds than its interpreter, on many Linux systems.
PYTHON_PROBE = "#include <Python.h>\nint probe;\n"
OPENMP_PROBE = "#include <omp.h>\nint probe(void) { return omp_get_max_threads(); }\n"
# Variants that a compiler may not know, with what it must compile; cpu.c learns from FNN_BUILT_<NAME> which are there.
VARIANT_PROBES = {
    "avx512_vnni": """#include <immintrin.h>
__m512i probe(__m512i sum, __m512i a) { return _mm512_dpbusd_epi32(sum, a, a); }
int supported(void) { return __builtin_cpu_supports("avx512vnni"); }
""",
    "avx512_bf16": """#include <immintrin.h>
__m512 probe(__m512 sum, __m512 a) { return _mm512_dpbf16_ps(sum, (__m512bh)a, _mm512_cvtne2ps_pbh(a, a)); }
int supported(void) { return __builtin_cpu_supports("avx512bf16"); }
""",
    "amx_bf16": """#include <immintrin.h>
#include <sys/syscall.h>
#if !defined(__linux__) || !defined(SYS_arch_prctl)
#error only Linux hands the matrix unit out
#endif
void probe(const float *a) { _tile_loadd(0, a, 64); _tile_dpbf16ps(0, 1, 2); _tile_release(); }
""",
    "neon_dotprod": """#include <arm_neon.h>
int32x4_t probe(int32x4_t sum, int8x16_t a) { return vdotq_laneq_s32(sum, a, a, 3); }
""",
    "neon_bf16": """#include <arm_neon.h>
float32x4_t probe(float32x4_t sum, bfloat16x8_t a) { return vbfdotq_laneq_f32(sum, a, a, 3); }
""",
}
# gcc before 14 lays some frames with vectors of 64 bytes at 32 on AddressSanitizer's fake stack (GCC bug 110027), and
# an aligned store there ends the process: kernels of such vectors go without it. AVX2's, of the same sources, have it.
FAKE_STACK_PROBE = "#if !defined(__clang__) && __GNUC__ < 14\n#error vectors of 64 bytes\n#endif\nint probe;\n"
NO_FAKE_STACK = ["--param", "asan-use-after-return=0"]


def readme_for_index():
    """README.md with whole addresses in its links: an index page has none of the files that lie beside it here."""
    settings = Path("pyproject.toml").read_text(encoding="utf-8")
    (home,) = re.findall(r'^Source = "(.+)"', settings, flags=re.MULTILINE)
    (version,) = re.findall(r'^version = "(.+)"', settings, flags=re.MULTILINE)

    def whole(match):
        start, path = match.groups()
        kind = "raw" if start.startswith(("!", "src")) else "blob"
        return f"{start}{home}/{kind}/v{version}/{path}"

    # the link of [text](path), the picture of ![text](path), and those of HTML; not what has a scheme, and no #place
    links = r"""(!?\[[^\]]*\]\(|(?:href|src|srcset)=")(?![a-z]+:|#)([^)"]+)"""
    return re.sub(links, whole, Path("README.md").read_text(encoding="utf-8"))


def write_names():
    """Writes fnn_names.h: the members of each `typedef enum {...} fnn_<list>;` of the headers, as Python names them.

    FNN_OP_DENSE of fnn_op_code is ("op", "dense"), FNN_RELU of fnn_activation ("activation", "relu").
    """
    lines = []
    for header in (SOURCES / "fastnn.h", KERNELS / "table.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.DOTALL)
        for members, kind in re.findall(r"typedef enum \{([^}]*)\} fnn_(\w+);", text):
            kind = kind.removesuffix("_code")
            for member in re.findall(r"\bFNN_\w+", members):
                name = member.removeprefix("FNN_").lower().removeprefix(f"{kind}_")
                lines.append(f'    {{"{kind}", "{name}", {member}}},\n')
    GENERATED.mkdir(parents=True, exist_ok=True)
    (GENERATED / "fnn_names.h").write_text(
        "/* Written by setup.py from the enums of fastnn.h and kernels/table.h. */\n"
        "typedef struct {\n    const char *list, *name;\n    int number;\n} fnn_name;\n\n"
        f"static const fnn_name fnn_names[] = {{\n{''.join(lines)}}};\n"
        "static const size_t fnn_name_count = sizeof fnn_names / sizeof fnn_names[0];\n",
        encoding="utf-8",
    )


class BuildEngine(build_ext):
    """build_ext with flags by file, and with the generated C under build/, out of the source tree and the wheel."""

    def finalize_options(self):
        super().finalize_options()
        self.force = True  # a change of flags (or of a compiler) is no newer file, yet the objects are stale

    def build_extension(self, ext):
        import numpy
        from Cython.Build import cythonize

        if self.compiler.compiler_type == "msvc":
            self.use_clang_cl()
        sanitize = [f"-fsanitize={names}"] if (names := os.environ.get("FASTNN_SANITIZE")) else []
        flags = [*COMMON_FLAGS, *(SANITIZE_FLAGS if sanitize else RELEASE_FLAGS), *sanitize]
        if ext is engine:
            self.check_compiler()
        openmp, openmp_libraries = self.openmp_flags()
        write_names()

        # cythonize returns a copy without the attributes that build_ext has set: keep ours, take its sources.
        ext.sources = cythonize(
            [ext], build_dir="build/cython", force=self.force, compiler_directives=CYTHON_DIRECTIVES
        )[0].sources
        ext.include_dirs = [*INCLUDES, numpy.get_include()]
        ext.extra_compile_args = self.spelled(flags + ENGINE_FLAGS + openmp)
        ext.extra_link_args = openmp_libraries
        if not WINDOWS:
            self.compiler.linker_so = [word for word in self.compiler.linker_so if not word.startswith("-Wl,-rpath")]
            ext.extra_link_args = ["-pthread", *openmp_libraries, *sanitize, *self.hardening_flags()]
            ext.extra_link_args += self.stripping_flags()
        if ext is engine:  # the others reach the kernels through pointers that it hands out
            objects = self.compile_sources(ext, flags, openmp)
            glue = [objects[Path(path)] for path in ext.sources]
            alone = [objects.pop(LIBRARY / name) for name in ("library.c", "disk.c")]
            ext.extra_objects, ext.sources = list(objects.values()), []
            shared = [name for name in ext.extra_objects if name not in glue]
            link = self.link_dll if WINDOWS else self.link_library
            self.write_hints(link([*shared, *alone], ext.extra_link_args))
        super().build_extension(ext)

    def link_library(self, objects, flags):
        """Links libfastnn into the folder lib/ beside the extension; returns the name of its file.

        The file has the name by which the loader looks for it, since a wheel holds no links. On ELF systems the name
        for -lfastnn is a script of the linker, which names that file. The extension has a copy of its own of all that
        is in the library: so no libfastnn of another version that a process has loaded ever comes between.
        """
        apple = sys.platform == "darwin"
        soname = "libfastnn.dylib" if apple else "libfastnn.so.0"
        folder = self.empty_lib()
        own = ["-install_name", f"@rpath/{soname}"] if apple else [f"-Wl,-soname,{soname}"]
        exports = LIBRARY / "exports.map"
        shown = "".join(f"void {name}(void) {{}}\n" for name in re.findall(r"\bfnn_\w+", exports.read_text()))
        for option in (f"-Wl,--version-script={exports}", "-Wl,-z,nodelete"):
            own += [option] if not apple and self.probe(shown, [option], link=True) else []
        linker = self.compiler.linker_so
        of_bundles = {"-bundle": ["-dynamiclib"], "-undefined": [], "dynamic_lookup": []}
        self.compiler.linker_so = [word for given in linker for word in of_bundles.get(given, [given])]
        try:
            self.compiler.link_shared_object(
                objects, str(folder / soname), libraries=["m"], extra_postargs=[*flags, *own]
            )
        finally:
            self.compiler.linker_so = linker
        if not apple:
            (folder / "libfastnn.so").write_text(f"/* for -lfastnn */ INPUT({soname})\n")
        return soname

    def link_dll(self, objects, flags):
        """Links fastnn.dll, as link_library does, with fastnn.lib, by which MSVC's linker knows it."""
        folder = self.empty_lib()
        names = re.findall(r"\bfnn_\w+", (LIBRARY / "exports.map").read_text())
        self.compiler.link_shared_object(
            objects,
            str(folder / "fastnn.dll"),
            export_symbols=names,
            build_temp=self.build_temp,
            extra_postargs=[*flags, f"/IMPLIB:{folder / 'fastnn.lib'}"],
        )
        return "fastnn.dll"

    def empty_lib(self):
        """The folder of libfastnn, with nothing in it."""
        folder = Path(self.get_ext_fullpath(engine.name)).parent / "lib"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def write_hints(self, soname):
        """Writes what tells pkg-config and CMake of libfastnn, beside it."""
        apple = sys.platform == "darwin"
        folder = Path(self.get_ext_fullpath(engine.name)).parent / "lib"
        for path in LIBRARY.glob("*.in"):
            target = folder / ("pkgconfig" if path.stem.endswith(".pc") else "cmake/fastnn") / path.stem
            target.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text().replace("@version@", self.distribution.get_version())
            target.write_text(text.replace("@library@", soname).replace("@soname@", "@rpath/" * apple + soname))

    def copy_extensions_to_source(self):
        """Copies lib/ too, where the package is built in place."""
        super().copy_extensions_to_source()
        package = self.get_finalized_command("build_py").get_package_dir("fastnn")
        shutil.copytree(Path(self.build_lib, "fastnn/lib"), Path(package, "lib"), dirs_exist_ok=True)

    def compile_sources(self, ext, flags, openmp):
        """Compiles the C of src_c/ and of ext, two or more at a time where there are cores; returns their objects."""
        jobs = {path: ENGINE_FLAGS + openmp for path in SOURCES.rglob("*.c") if path.parent != KERNELS}
        jobs[LIBRARY / "library.c"] = [*ENGINE_FLAGS, f'-DFNN_VERSION="{self.distribution.get_version()}"']
        here = [sets for macro, sets in ARCHITECTURES.items() if self.probe(ARCHITECTURE_PROBE.format(macro))]
        isa_flags = here[0] if here else {}
        sets = ["baseline", *isa_flags]
        highest = os.environ.get("FASTNN_HIGHEST_ISA", sets[-1])
        if highest not in sets:
            raise SystemExit(f"FASTNN_HIGHEST_ISA must be one of {', '.join(sets)}, got {highest!r}")
        variants = {"baseline": []}  # and what the others need
        for name in sets[1 : sets.index(highest) + 1]:
            if name in VARIANT_PROBES and not self.probe(VARIANT_PROBES[name], isa_flags[name]):
                self.warn(f"the compiler cannot build the variant {name}: products of bfloat16, int8 are slower")
                continue
            variants[name] = isa_flags[name]
            flags = [*flags, f"-DFNN_BUILT_{name.upper()}"]
        self.announce_build(variants, openmp)
        jobs |= {KERNELS / f"kernels_{name}.c": KERNEL_FLAGS + of_isa for name, of_isa in variants.items()}
        if os.environ.get("FASTNN_SANITIZE") and not self.probe(FAKE_STACK_PROBE):
            jobs |= {path: jobs[path] + NO_FAKE_STACK for path in jobs if "-mavx512f" in jobs[path]}
        last = shlex.split(os.environ.get("FASTNN_CFLAGS", ""))
        jobs = {path: [*flags, *own, *last] for path, own in jobs.items()}
        jobs |= {Path(path): ext.extra_compile_args for path in ext.sources}

        def compile_one(path):
            return self.compiler.compile(
                [str(path)],
                output_dir=self.build_temp,
                macros=ext.define_macros,
                include_dirs=ext.include_dirs,
                extra_postargs=self.spelled(jobs[path]),
            )

        paths = sorted(jobs)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return {path: name for path, (name,) in zip(paths, pool.map(compile_one, paths), strict=True)}

    def announce_build(self, variants, openmp):
        """Says in a line what is built: the compiler, the instruction sets, and whether there are threads."""
        words = [self.compiler.cc] if WINDOWS else self.compiler.compiler_so
        command = [word for k, word in enumerate(words) if not any(word.startswith("-") for word in words[: k + 1])]
        answer = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False).stdout
        version = self.distribution.get_version()
        threads = f"threads by OpenMP ({' '.join(openmp)})" if openmp else "one thread, no OpenMP"
        self.announce(
            f"fastnn {version}: kernels for {', '.join(variants)}; {threads}; compiled by {shlex.join(command)}, "
            f"{answer.partition(chr(10))[0] or 'which does not say its version'}",
            level=logging.INFO,
        )

    def check_compiler(self):
        """Ends the build in one sentence where no compiler works, before anything fails for want of one."""
        if (error := self.failure("int probe;\n", link=True)) is not None:
            raise SystemExit(
                "error: building fastnn needs a C compiler, gcc or clang, and none works here: install one (Debian, "
                "Ubuntu: apt install gcc libc6-dev; Fedora: dnf install gcc; macOS: xcode-select --install), or name "
                f"yours in the environment variable CC; a wheel of fastnn-cpu would need none ({error})"
            )
        if self.failure(PYTHON_PROBE) is not None:
            raise SystemExit(
                "error: building fastnn needs Python's headers, and Python.h is not here: install them (Debian, "
                "Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)"
            )

    def use_clang_cl(self):
        """Lets clang-cl compile in the place of MSVC's compiler, which lacks the vector extensions of the kernels."""
        clang = shutil.which("clang-cl")
        if clang is None:
            raise SystemExit(
                "error: building fastnn on Windows needs clang-cl, of LLVM, on PATH, since MSVC's compiler lacks the "
                "vector extensions that the kernels use; a wheel of fastnn-cpu would need no compiler"
            )
        if not self.compiler.initialized:
            self.compiler.initialize()
        self.compiler.cc = clang

    def spelled(self, flags):
        """Flags of gcc and clang as the compiler in use takes them: clang-cl, which has MSVC's, takes others marked."""
        return [flag if flag.startswith("/") else f"/clang:{flag}" for flag in flags] if WINDOWS else list(flags)

    def openmp_flags(self):
        """What compiles with OpenMP and what links with it, where a probe does both; else nothing, which is said."""
        if os.environ.get("FASTNN_OPENMP") == "0":
            self.warn("FASTNN_OPENMP=0: building the serial library, which runs on one thread")
            return [], []
        for compiling, linking in self.openmp_ways():
            if self.probe(OPENMP_PROBE, compiling, link=True, link_flags=linking):
                return compiling, linking
        self.warn("the compiler cannot build with OpenMP: building the serial library, which runs on one thread")
        return [], []

    def openmp_ways(self):
        """Pairs of flags to try. Apple's clang lacks the library of OpenMP; clang-cl links by MSVC's linker."""
        given = os.environ.get("FASTNN_LIBOMP")
        if WINDOWS:
            folder = Path(given or Path(self.compiler.cc).parent.parent)
            return [(["-fopenmp", f"-I{folder / 'include'}"], [str(folder / "lib/libomp.lib")])]
        ways = [(["-fopenmp"], ["-fopenmp"])]
        if sys.platform == "darwin":
            ways += [
                (["-Xpreprocessor", "-fopenmp", f"-I{folder}/include"], [f"-L{folder}/lib", "-lomp"])
                for folder in ([given] if given else ["/opt/homebrew/opt/libomp", "/usr/local/opt/libomp"])
            ]
        return ways

    def hardening_flags(self):
        """Addresses that only the loader writes are read-only once it is done, where the linker knows how."""
        flags = ["-Wl,-z,relro", "-Wl,-z,now"]
        return flags if self.probe("int probe;\n", flags, link=True) else []

    def stripping_flags(self):
        """No table of symbols, which only debuggers read; FASTNN_CFLAGS with -g keeps it."""
        wanted = "-g" in shlex.split(os.environ.get("FASTNN_CFLAGS", "")) or os.environ.get("FASTNN_SANITIZE")
        return [] if wanted or not sys.platform.startswith("linux") else ["-Wl,--strip-all"]

    def probe(self, code, flags=(), *, link=False, link_flags=None):
        """Whether the compiler accepts this code with these flags, and with `link` the linker too."""
        return self.failure(code, flags, link=link, link_flags=link_flags) is None

    def failure(self, code, flags=(), *, link=False, link_flags=None):
        """None where the compiler, and with `link` the linker, accept this code with these flags, else the error."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(code)
            library = str(source.with_suffix(".so"))
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=self.spelled(flags))
                if link:
                    linking = list(flags if link_flags is None else link_flags)
                    self.compiler.link_shared_object(objects, library, extra_postargs=linking)
            except (CompileError, LinkError) as error:
                return error
        return None


class ArchiveSource(sdist):
    """sdist whose bytes follow from its files: sorted, of nobody, and of one time, where SOURCE_DATE_EPOCH is set."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):  # noqa: A002
        if format != "gztar" or "SOURCE_DATE_EPOCH" not in os.environ:
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)
        time = int(os.environ["SOURCE_DATE_EPOCH"])

        def anonymous(member):
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = time
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as file,  # noqa: PTH123
            gzip.GzipFile("", "wb", fileobj=file, mtime=time) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=anonymous)  # folders are read in the order of their names
        return path


engine = Extension(
    "fastnn._engine",
    sources=["fastnn/_engine.pyx"],
    depends=["fastnn/_c.pxd", *sorted(str(path) for path in SOURCES.rglob("*.*"))],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
    libraries=[] if WINDOWS else ["m"],
)

predictor = Extension(
    "fastnn.predictor",
    sources=["fastnn/predictor.pyx"],
    depends=["fastnn/include/fastnn_predictor.h", "fastnn/predictor.pxd"],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
)

if __name__ == "__main__":  # tests/platforms.py asks for the flags alone
    setup(
        ext_modules=[engine, predictor],
        cmdclass={"build_ext": BuildEngine, "sdist": ArchiveSource},
        long_description=readme_for_index(),
        long_description_content_type="text/markdown",
    )
