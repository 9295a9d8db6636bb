"""Builds libfastnn for other platforms, and runs it where something here can: `python tests/platforms musl windows`.

Each is compiled from all of src_c/, with setup.py's flags and warnings as errors, and linked. Then a program loads a
network that Python has frozen: it must give Python's answers and gradients, on each instruction set of this processor.

    musl         musl-gcc, of Debian's musl-tools: the program is linked statically, and runs
    windows      clang for Windows, with the headers of Debian's gcc-mingw-w64-x86-64-posix, whose linker makes a DLL;
                 runs under Wine. (gcc lays vectors of 32 bytes at 16 on the stack of Windows, GCC bug 54412.)
    windows-gcc  the baseline's kernels, and threads by GNU OpenMP and Windows' own locks; runs under Wine
    macos-arm64, macos-x86_64    the clang of the package ziglang, which has macOS's headers; linked, not run

--objects only compiles: for that Windows needs mingw-w64-x86-64-dev alone. --isa names the last instruction set that is
compiled, as FASTNN_HIGHEST_ISA does.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import fastnn
from fastnn import layers

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
import setup as build  # noqa: E402  # its flags

ROWS = 700  # enough for two threads
ZIG = [sys.executable, "-m", "ziglang", "cc"]


@dataclass(frozen=True)
class Platform:
    """How code of a platform is compiled, linked and run here."""

    compiler: list[str]
    library: str  # its file
    linker: list[str]  # that makes the library
    program: list[str] | None = None  # what makes a program; None where nothing here could run it
    runner: list[str] = field(default_factory=list)
    sets: bool = True  # whether it has the kernels of x86-64
    openmp: bool = False


MINGW = "x86_64-w64-mingw32-gcc"
PLATFORMS = {
    "musl": Platform(["musl-gcc"], "libfastnn.a", ["ar", "rcs"], ["musl-gcc", "-static"]),
    "windows": Platform(
        ["clang", "--target=x86_64-pc-windows-gnu"], "fastnn.dll", [MINGW, "-shared"], [MINGW], ["wine"]
    ),
    "windows-gcc": Platform([MINGW], "fastnn.dll", [MINGW, "-shared"], [MINGW], ["wine"], sets=False, openmp=True),
    "macos-arm64": Platform(
        [*ZIG, "-target", "aarch64-macos.13.0"], "libfastnn.dylib", [*ZIG, "-target", "aarch64-macos.13.0"], sets=False
    ),
    "macos-x86_64": Platform(
        [*ZIG, "-target", "x86_64-macos.13.0"], "libfastnn.dylib", [*ZIG, "-target", "x86_64-macos.13.0"]
    ),
}


def run(command, **options):
    """Run a command; end with what it says where it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def built_sets(platform, highest):
    """Return the kernels' instruction sets that the platform's compiler can build, up to the highest."""
    names = list(build.X86_64_FLAGS) if platform.sets else []
    if highest:
        names = names[: names.index(highest) + 1] if highest in names else []
    found = []
    for name in names:
        probe = build.VARIANT_PROBES.get(name, "int probe;\n")
        command = [*platform.compiler, *build.X86_64_FLAGS[name], "-x", "c", "-c", "-", "-o", os.devnull]
        if subprocess.run(command, input=probe, text=True, capture_output=True, check=False).returncode == 0:
            found.append(name)
    return found


def compile_all(platform, folder, highest):
    """Compile all of src_c/ into the folder, two or more files at a time; return the objects and instruction sets."""
    sets = built_sets(platform, highest)
    flags = [*build.COMMON_FLAGS, "-O3", "-Wall", "-Wextra", "-Werror", f'-DFNN_VERSION="{fastnn.__version__}"']
    flags += [f"-I{ROOT / path}" for path in build.INCLUDES]
    flags += [f"-DFNN_BUILT_{name.upper()}" for name in sets]
    flags += ["-fopenmp"] if platform.openmp else []
    kernels = {f"kernels_{name}.c": build.X86_64_FLAGS.get(name, []) for name in ["baseline", *sets]}
    jobs = []
    for path in sorted((ROOT / build.SOURCES).rglob("*.c")):
        if path.parent.name == "kernels":
            if path.name in kernels:
                jobs.append((path, [*build.KERNEL_FLAGS, *kernels[path.name]]))
        else:
            jobs.append((path, build.ENGINE_FLAGS))

    def compile_one(job):
        path, own = job
        target = Path(folder, "_".join(path.relative_to(ROOT).parts)).with_suffix(".o")
        run([*platform.compiler, *flags, *own, "-c", path, "-o", target])
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, jobs)), ["baseline", *sets]


def link(platform, objects, folder):
    """Link the library, and where something here runs it the program; return the program."""
    library = Path(folder, platform.library)
    options = []
    if library.suffix == ".dll":
        names = re.findall(r"\bfnn_\w+", (ROOT / build.LIBRARY / "exports.map").read_text())
        Path(folder, "fastnn.def").write_text("EXPORTS\n" + "".join(f"    {name}\n" for name in names))
        options = ["-static", Path(folder, "fastnn.def")]  # with the compiler's own libraries inside
    if library.suffix == ".dylib":
        options = ["-dynamiclib", "-install_name", "@rpath/libfastnn.dylib"]
    if library.suffix == ".a":
        run([*platform.linker, library, *objects])
    else:
        openmp = ["-fopenmp"] if platform.openmp else []
        run([*platform.linker, *options, *openmp, *objects, "-o", library, "-lm"])
    if platform.program is None:
        return None
    program = Path(folder, "answers.exe")
    source = Path(__file__).with_name("answers.c")
    headers = ["-I", ROOT / "fastnn/include"]
    run([*platform.program, "-std=c11", "-O1", *headers, source, library, "-o", program, "-lm"])
    return program


def record(folder):
    """Freeze a network, and write it with rows, its answers and its gradients."""
    fastnn.utils.set_random_seed(1)
    model = fastnn.Sequential(
        [
            fastnn.Input((24,)),
            layers.Dense(160, "relu"),
            layers.LayerNormalization(),
            layers.Dense(96, "gelu"),
            layers.Dense(64, "swish"),
            layers.BatchNormalization(),
            layers.Dense(33, "tanh"),
            layers.Dense(20, "softplus"),
            layers.Dense(5, "softmax"),
        ]
    )
    predictor = model.freeze()
    predictor.save(Path(folder, "network.fnn"))
    random = np.random.default_rng(1)
    x, u = random.normal(size=(ROWS, 24)).astype(np.float32), random.normal(size=(ROWS, 5)).astype(np.float32)
    y, gradient = predictor.vjp(x, u)
    Path(folder, "recorded.bin").write_bytes(b"".join(array.tobytes() for array in (x, u, y, gradient)))


def main():
    """Build what is named, and run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("platforms", nargs="+", choices=PLATFORMS)
    parser.add_argument("--objects", action="store_true", help="compile only")
    parser.add_argument("--isa", choices=["baseline", *build.X86_64_FLAGS], help="the last instruction set to build")
    options = parser.parse_args()
    build.write_names()
    for name in options.platforms:
        platform = PLATFORMS[name]
        with tempfile.TemporaryDirectory() as folder:
            objects, sets = compile_all(platform, folder, options.isa)
            print(f"{name}: compiled {len(objects)} files, kernels for {', '.join(sets)}", flush=True)
            if options.objects:
                continue
            program = link(platform, objects, folder)
            print(f"{name}: linked {platform.library}", flush=True)
            if program is None:
                continue
            record(folder)
            available = fastnn._engine.build_info()["isas_available"]
            for isa in [isa for isa in sets if isa in available]:
                command = [*platform.runner, program.name, "network.fnn", "recorded.bin", ROWS, 2]
                if not platform.runner:
                    command[0] = program
                says = run(command, cwd=folder, env=os.environ | {"FASTNN_ISA": isa, "WINEDEBUG": "-all"})
                print(f"{name}: {isa}: {says.strip()}", flush=True)


if __name__ == "__main__":
    main()
