"""Measures the machine: FLOP/s, bandwidth of each cache and of memory, on one and on all threads.

`python benchmarks/machine.py` prints it. The kernels are in machine.c; each thread runs one of them without the GIL.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("machine.c")


def cpus() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiler() -> list[str]:
    """The command of the C compiler, which may be of several words."""
    command = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not command:
        raise RuntimeError("the machine's peak rates need a C compiler: install gcc or clang, or set CC")
    return command.split()


def load() -> ctypes.CDLL:
    """The compiled kernels."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "machine.so"
        flags = ["-O3", "-march=native", "-shared", "-fPIC", "-Wno-psabi"]
        subprocess.run([*compiler(), *flags, "-o", path, SOURCE], check=True)
        library = ctypes.CDLL(str(path))
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name, arguments in {
        "fma_float32": [ctypes.c_long, pointer],
        "fma_bfloat16": [ctypes.c_long, pointer],
        "read_floats": [pointer, size, ctypes.c_long, pointer],
        "triad": [pointer, pointer, pointer, size],
        "triad_streaming": [pointer, pointer, pointer, size],
    }.items():
        function = getattr(library, name)
        function.restype, function.argtypes = ctypes.c_double, arguments
    return library


def aligned(count: int) -> np.ndarray:
    """Floats on a page's edge, touched."""
    raw = np.zeros(count + 1024, np.float32)
    skip = (-raw.ctypes.data % 4096) // 4
    array = raw[skip : skip + count]
    array[...] = 1
    return array


def rate(threads: int, call, repeats: int = 5) -> float:
    """The best total of `call(thread)` per second, over several goes, with all threads at once."""
    best = 0.0
    for _ in range(repeats):
        work, barrier = [0.0] * threads, threading.Barrier(threads + 1)

        def body(index, work=work, barrier=barrier):
            barrier.wait()
            work[index] = call(index)
            barrier.wait()

        team = [threading.Thread(target=body, args=(k,)) for k in range(threads)]
        for member in team:
            member.start()
        barrier.wait()
        start = time.perf_counter()
        barrier.wait()
        best = max(best, sum(work) / (time.perf_counter() - start))
        for member in team:
            member.join()
    return best


def cache_sizes() -> dict[str, int]:
    """Bytes of the data caches of one CPU, and of the last one, which may be shared."""
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (folder / "type").read_text().strip() != "Instruction":
            text = (folder / "size").read_text().strip()
            sizes["L" + (folder / "level").read_text().strip()] = int(text[:-1]) * {"K": 1024, "M": 1 << 20}[text[-1]]
    return sizes or {"L1": 32 << 10, "L2": 512 << 10, "L3": 8 << 20}


def flops(library: ctypes.CDLL, threads: int, kind: str) -> float:
    sink = np.zeros(16 * threads, np.float32)
    function = getattr(library, f"fma_{kind}")
    return rate(threads, lambda k: function(6_000_000, sink[16 * k :].ctypes.data), 7)


def reading(library: ctypes.CDLL, threads: int, size: int) -> float:
    """Bytes/s of reading `size` bytes in all, each thread its part, again and again."""
    count = max(1, size // 4 // threads // 128) * 128
    parts = [aligned(count) for _ in range(threads)]
    sink = np.zeros(16 * threads, np.float32)
    rounds = max(1, int(4e8 // (4 * count)))
    return rate(threads, lambda k: library.read_floats(parts[k].ctypes.data, count, rounds, sink[16 * k :].ctypes.data))


def triads(library: ctypes.CDLL, threads: int, size: int) -> float:
    """The better of the two kinds of stores, in memory."""
    count = size // 4 // threads // 128 * 128
    arrays = [[aligned(count) for _ in range(3)] for _ in range(threads)]
    kinds = (library.triad, library.triad_streaming)
    return max(
        rate(threads, lambda k, kind=kind: kind(*(a.ctypes.data for a in arrays[k]), count), 7) for kind in kinds
    )


def measure(thread_counts: tuple[int, ...]) -> dict:
    """Everything the rooflines need; keys are strings, so that the result is JSON."""
    library, caches = load(), cache_sizes()
    levels = {name: size for name, size in caches.items() if name in ("L1", "L2", "L3")}
    result: dict = {"flops": {"float32": {}, "bfloat16": {}}, "read": {}, "triad": {}, "caches": caches}
    for threads in thread_counts:
        for kind in ("float32", "bfloat16"):
            result["flops"][kind][str(threads)] = flops(library, threads, kind)
        rates = {}
        for name, size in levels.items():
            whole = size if name == "L3" else size * threads
            rates[str(whole)] = reading(library, threads, whole // 2)
        rates[str(1 << 60)] = reading(library, threads, 1 << 29)
        result["read"][str(threads)] = rates
        result["triad"][str(threads)] = triads(library, threads, 1 << 28)
    return result


def describe() -> dict[str, str]:
    """The machine in words, without its name."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    version = subprocess.run([*compiler(), "--version"], capture_output=True, text=True, check=False).stdout
    return {
        "CPU": model or platform.processor() or platform.machine(),
        "CPUs": str(cpus()),
        "vector instructions": " ".join(
            name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd") if f" {name}" in info
        ),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "C compiler": (version.splitlines() or ["unknown"])[0],
    }


def has_bf16() -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and "avx512_bf16" in info.read_text()


if __name__ == "__main__":
    json.dump({**describe(), **measure((1, cpus()) if cpus() > 1 else (1,))}, sys.stdout, indent=2)
