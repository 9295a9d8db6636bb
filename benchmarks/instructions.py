"""Counts the instructions of the innermost loops of register tiles, compiled for AArch64.

python benchmarks/instructions.py                      # by aarch64-linux-gnu-gcc -O3, as setup.py compiles kernels
python benchmarks/instructions.py --source ../other    # the tiles of another checkout, to compare
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

# Each tile as a function of its own, over the micro-kernels of src_c/kernels/products.
TILES = """
#include <float.h>
#include <math.h>
#include <string.h>
#include <arm_neon.h>
#include "kernels/table.h"
#include "kernels/base/simd.h"
#pragma GCC diagnostic ignored "-Wunused-function"
#define FNN_TABLE(kind) counted_##kind
#define FNN_REAL_IS_DOUBLE OF_TYPE
#include "real.h"
#include "kernels/base/vector.inc"
#include "kernels/products/bfloat16.inc"
#include "kernels/products/gemm.inc"
#include "kernels/products/transpose.inc"
#include "kernels/products/packed.inc"
#define ROWS FNN_TILE_ROWS
#define TILE(name, by_depth) void name(const real *const *a, size_t depth, const real *b, size_t stride, real *y) { \\
    FN(register_tile)(ROWS, 2, 0, by_depth, 0, a, 0, depth, b, stride, NULL, NULL, 0, 0, y, stride, 2 * LANES, \\
                      (FN(following)){NULL, 0}); }
TILE(tile_by_rows, 0)
TILE(tile_by_depth, 1)
void tile_packed(const real *a, size_t units, const real *b, real *y, size_t stride) {
    FN(packed_tile)(ROWS, 2, FNN_BFLOAT16 == FNN_PAIRED, a, b, units, NULL, 0, 0, y, stride);
}
__attribute__((flatten))
void tile_transposed(const real *b, size_t stride, const real *panel, size_t depth, real *sums) {
    FN(narrow_tile)(b, stride, panel, depth, sums);
}
#if !FNN_REAL_IS_DOUBLE
#include "kernels/products/weights_bfloat16.inc"
#include "kernels/products/weights_int8.inc"
void tile_weights_bfloat16(const FN(product) *p, const uint16_t *w, size_t step, real *y) {
    FN(half_tile)(ROWS, 2, p, p->a, w, step, NULL, y, 2 * FNN_VECTOR_BYTES / sizeof(real));
}
void tile_weights_int8(const int16_t *q, size_t most, size_t depth, const int8_t *w, void *sums) {
    int8_tile(FNN_INT8_ROWS, 2, q, most, depth, w, 64, sums, 0);
}
#endif
"""
# What is compiled: the element type, the flags of setup.py, and the tiles that these flags change.
BUILDS = [
    ("float32", 0, [], ""),
    ("float64", 1, [], ""),
    ("float32", 0, ["-march=armv8.2-a+dotprod"], "int8"),
    ("float32", 0, ["-march=armv8.2-a+bf16"], "packed"),
]
FLAGS = ["-std=c11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fopenmp-simd"]
MULTIPLIES = re.compile(r"\s+(fmla|bfdot|sdot|mla|smlal2?)\s")
REGISTERS = {"ldp": 2, "ldr": 1, "ldur": 1, "ld1": 1, "ld1r": 1}


def loops(assembly):
    """Yield the lines between a label and the branch back to it, function by function."""
    for name, body in re.findall(r"^(tile_\w+):\n(.*?)^\s+\.size\s+\1", assembly, re.MULTILINE | re.DOTALL):
        lines, labels = body.splitlines(), {}
        for number, line in enumerate(lines):
            if label := re.match(r"(\.L\w+):", line):
                labels[label[1]] = number
            elif (branch := re.match(r"\s+(?:b|cb|tb)\S*\s+.*?(\.L\w+)$", line)) and branch[1] in labels:
                yield name, lines[labels[branch[1]] + 1 : number + 1]


def count(source, compiler, is_double, flags):
    """Return (multiply-adds, registers loaded, stores, instructions) of each tile's longest loop of multiply-adds."""
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder, "tiles.c")
        code.write_text(TILES.replace("OF_TYPE", str(is_double)))
        command = [compiler, *FLAGS, *flags, f"-I{source / 'src_c'}", "-S", str(code), "-o", "-"]
        assembly = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {}
    for name, lines in loops(assembly):
        words = [line.split()[0] for line in lines if re.match(r"\s+[a-z]", line)]
        multiplies = sum(bool(MULTIPLIES.match(line)) for line in lines)
        if multiplies > found.get(name, (0,))[0]:
            loaded = sum(REGISTERS.get(word, 0) for word in words)
            found[name] = multiplies, loaded, sum(word.startswith("st") for word in words), len(words)
    return found


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[1], help="the checkout with the tiles")
    parser.add_argument("--compiler", default="aarch64-linux-gnu-gcc")
    arguments = parser.parse_args()
    columns = ["tile", "type", "flags", "multiply-adds", "registers loaded", "stores", "instructions"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for kind, is_double, flags, chosen in BUILDS:
        for name, numbers in count(arguments.source, arguments.compiler, is_double, flags).items():
            if chosen in name:
                columns = [name.removeprefix("tile_"), kind, " ".join(flags) or "-", *map(str, numbers)]
                print(f"| {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
