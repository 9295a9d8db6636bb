"""One row through a network of 32-64-64-1 in plain C: `export_c` beside other generators of C, by several compilers.

    python benchmarks/plain_c.py
    python benchmarks/plain_c.py int8   # with the weights so

The peers are emlearn, whose header is compiled where the package is installed, and the loops of keras2c (Conlin et al.,
2021), which sum each output up in memory over all inputs and then add the bias. Their weights are float32.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import fastnn
from fastnn import layers

SIZES = [32, 64, 64, 1]
BUILDS = ["gcc -O2", "gcc -O3", "gcc -O3 -march=native", "clang -O2", "clang -O3", "clang -O3 -march=native"]
PEER = """
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
{include}
{arrays}
void loops(const float *x, float *y, const float *w, const float *b, size_t inputs, size_t outputs) {{
    for (size_t j = 0; j < outputs; j++) {{
        y[j] = 0;
        for (size_t k = 0; k < inputs; k++) {{
            y[j] += x[k] * w[k * outputs + j];
        }}
        y[j] += b[j];
    }}
}}
static void ramp(float *x, size_t n) {{
    for (size_t i = 0; i < n; i++) {{
        x[i] = x[i] <= 0 ? 0 : x[i];
    }}
}}
void loops_net(const float *x, float *y) {{
    float h0[64], h1[64];
    loops(x, h0, weights0, biases0, 32, 64);
    ramp(h0, 64);
    loops(h0, h1, weights1, biases1, 64, 64);
    ramp(h1, 64);
    loops(h1, y, weights2, biases2, 64, 1);
}}
"""
EMLEARN = """
static float room0[64], room1[64];
static const EmlNetLayer steps[3] = {
    {64, 32, weights0, biases0, EmlNetActivationRelu},
    {64, 64, weights1, biases1, EmlNetActivationRelu},
    {1, 64, weights2, biases2, EmlNetActivationIdentity},
};
static EmlNet emlearn = {3, steps, room0, room1, 64};
void emlearn_net(const float *x, float *y) {
    eml_net_regress(&emlearn, x, 32, y, 1);
}
"""
MAIN = """
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "net.h"
{declared}
static void fastnn_net(const float *x, float *y) {{
    float workspace[NET_WORKSPACE];
    net_predict(x, y, workspace);
}}
static double seconds(void (*net)(const float *, float *), float *sum) {{
    float x[NET_INPUTS] = {{0}}, y[NET_OUTPUTS];
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < 2000; i++) {{
        x[i % NET_INPUTS] = (float)(i % 7) - 3.0f;
        net(x, y);
        *sum += y[0];
    }}
    clock_gettime(CLOCK_MONOTONIC, &after);
    return (double)(after.tv_sec - before.tv_sec) + 1e-9 * (double)(after.tv_nsec - before.tv_nsec);
}}
int main(void) {{
    void (*const nets[])(const float *, float *) = {{fastnn_net, {nets}}};
    enum {{ COUNT = sizeof nets / sizeof *nets }};
    double best[COUNT];
    float sums[COUNT];
    for (int turn = 0; turn < 100; turn++) {{
        for (int k = 0; k < COUNT; k++) {{
            sums[k] = 0;
            const double taken = seconds(nets[k], sums + k);
            best[k] = turn == 0 || taken < best[k] ? taken : best[k];
        }}
    }}
    for (int k = 0; k < COUNT; k++) {{
        printf("%g %g ", 1e9 * best[k] / 2000, (double)sums[k]);
    }}
    return 0;
}}
"""


def emlearn_headers() -> str | None:
    """Return the folder of emlearn's headers; None where the package is not installed."""
    try:
        import emlearn
    except ImportError:
        return None
    return str(emlearn.includedir)


def write(folder: Path, headers: str | None, weights: str) -> list[str]:
    """Write the C of all; return the names of the peers."""
    model = fastnn.Sequential(
        [layers.Input((SIZES[0],)), *(layers.Dense(n, "relu") for n in SIZES[1:-1]), layers.Dense(1)]
    )
    model.set_weights([np.random.default_rng(0).normal(size=w.shape) / 8 for w in model.get_weights()])
    model.export_c(folder / "net.c", weights=weights)
    arrays = ""
    for k, weight in enumerate(model.get_weights()):
        name = f"{'weights' if k % 2 == 0 else 'biases'}{k // 2}"
        numbers = ", ".join(f"{float(value)!r}f" for value in weight.reshape(-1))
        arrays += f"static const float {name}[{weight.size}] = {{{numbers}}};\n"
    include, peers = ("", ["loops"]) if headers is None else ('#include "eml_net.h"', ["loops", "emlearn"])
    text = PEER.format(include=include, arrays=arrays) + (EMLEARN if headers else "")
    (folder / "peers.c").write_text(text)
    declared = "\n".join(f"void {peer}_net(const float *x, float *y);" for peer in peers)
    nets = ", ".join(f"{peer}_net" for peer in peers)
    (folder / "main.c").write_text(MAIN.format(declared=declared, nets=nets))
    return peers


def main(weights: str = "float32") -> None:
    """Print nanoseconds a row, and how many times as long a peer takes."""
    headers = emlearn_headers()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        peers = write(folder, headers, weights)
        print(f"{'':<24} {'fastnn':>9}", *(f"{peer:>18}" for peer in peers))
        for build in filter(lambda build: shutil.which(build.split()[0]), BUILDS):
            search = ["-I", headers] if headers else []
            command = [*build.split(), "-std=c99", *search, "net.c", "peers.c", "main.c", "-o", "all", "-lm"]
            subprocess.run(command, check=True, cwd=folder)
            told = subprocess.run(["./all"], check=True, cwd=folder, capture_output=True, text=True).stdout.split()
            times, sums = np.array(told[::2], float), np.array(told[1::2], float)
            np.testing.assert_allclose(sums, sums[0], rtol=1e-4 if weights == "float32" else 0.1)
            others = (f"{time:>8.0f} ns {time / times[0]:>5.1f}x" for time in times[1:])
            print(f"{build:<24} {times[0]:>6.0f} ns", *others)


if __name__ == "__main__":
    main(*sys.argv[1:])
