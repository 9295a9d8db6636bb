"""``python -m fastnn demo``, ``info``, ``config`` and ``convert``: digits, what is here, flags of C, other formats."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

import fastnn
from fastnn import _engine
from fastnn._convert import FORMATS, convert
from fastnn.callbacks import History
from fastnn.distributed._hosts import described

# The variables that fastnn reads, and what they do.
VARIABLES = {
    "FASTNN_ISA": "the instruction set, one of those available",
    "FASTNN_PRODUCTS": "who multiplies large matrices: auto, own or blas",
    "OMP_NUM_THREADS": "the number of threads at the start",
}


def caches() -> str:
    """Return the sizes of the data caches that the first core sees, where the system says them."""
    sizes = []
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = ((cache / name).read_text().strip() for name in ("type", "level", "size"))
        if kind != "Instruction":
            sizes.append(f"L{level} {size.replace('K', ' KiB').replace('M', ' MiB')}")
    return ", ".join(sizes) or "the system does not say"


def loaded_libraries() -> str:
    """Return the BLAS and OpenMP libraries in this process, whoever has loaded them, where the system says so."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return "the system does not say"
    paths = {line.split(maxsplit=5)[5] for line in maps.read_text(errors="replace").splitlines() if ".so" in line}
    names = {name for path in paths if re.match(r"lib.*(blas|mkl|blis|omp).*\.so", name := Path(path).name)}
    return ", ".join(sorted(names)) or "none"


def show(text: str) -> None:
    """Print a text; where standard output does not take it, leave: with a sentence, unless nobody reads any more."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries once more, at its end
        sys.exit(1 if isinstance(error, BrokenPipeError) else f"python -m fastnn: standard output: {error.strerror}")


def info() -> str:
    """Return version, compiler, instruction set, caches and threads, and what the environment can change of it.

    Of ranks that were started together rank 0 has the text, and the others have none.
    """
    ranks = described()
    if not ranks:  # rank 0 has the text
        return ""
    build = _engine.build_info()
    rows = {
        "fastnn": fastnn.__version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "compiler": build["compiler"],
        "instruction set": f"{build['isa']} (available: {', '.join(build['isas_available'])})",
        "caches": caches(),
        "products": _engine.describe_products(),
        "OpenMP": f"{build['num_threads']} threads" if build["openmp"] else "not built in: one thread",
        "libraries": loaded_libraries(),
        "MPI": ranks,
    }
    found = [f"{name:<16} {value}" for name, value in rows.items()]
    read = [f"{name:<16} {os.environ.get(name) or 'not set'} ({meaning})" for name, meaning in VARIABLES.items()]
    return "\n".join([*found, "", "Environment", *read])


FLAGS = {  # of config: what each prints
    "cflags": "flags that compile C code against fastnn_predictor.h",
    "libs": "flags that link a program with libfastnn, where it is now",
    "library": "the path of libfastnn",
    "pkgconfigdir": "the folder of fastnn.pc, for PKG_CONFIG_PATH",
    "cmakedir": "the folder of fastnnConfig.cmake, for fastnn_DIR",
}


def config(wanted: Iterable[str]) -> str:
    """Return what a compiler needs to use libfastnn: the values of these of FLAGS, on one line."""
    library = Path(fastnn.predictor.get_library())
    folder = library.parent
    values = {
        "cflags": f"-I{fastnn.predictor.get_include()}",
        "libs": f"-L{folder} -lfastnn -Wl,-rpath,{folder}",
        "library": str(library),
        "pkgconfigdir": str(folder / "pkgconfig"),
        "cmakedir": str(folder / "cmake" / "fastnn"),
    }
    return " ".join(values[name] for name in wanted)


def confusion_matrix(labels: npt.NDArray[np.integer], guesses: npt.NDArray[np.integer]) -> str:
    """Return a table of how often each digit (row) was taken for each digit (column)."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, guesses), 1)
    head = "true \\ taken for " + "".join(f"{k:>5}" for k in range(10))
    lines = [f"{k:>16} " + "".join(f"{n if n else '·':>5}" for n in row) for k, row in enumerate(counts)]
    return "\n".join([head, *lines])


def plot_curves(history: History, path: Path) -> str:
    """Draw loss and accuracy against epochs into a PNG; return what to tell the user."""
    try:
        import matplotlib as mpl
    except ImportError:
        return "Learning curves need matplotlib: pip install 'fastnn-cpu[demo]'"
    mpl.use("Agg")
    figure = history.plot(["loss", "accuracy"])[0].figure
    figure.savefig(path, dpi=120)
    mpl.pyplot.close(figure)
    return f"Learning curves: {path}"


def demo(epochs: int, seed: int, batch_size: int, folder: Path) -> None:
    """Train the digits network from raw data to single predictions, and print each step."""
    folder.mkdir(parents=True, exist_ok=True)
    fastnn.utils.set_random_seed(seed)

    print("Preprocess: 5,620 handwritten digits of 8 x 8 pixels (UCI), scaled to 0 ... 1; every fifth is held back")
    (x_train, y_train), (x_test, y_test) = fastnn.datasets.load_digits()
    x_train, x_test = x_train / np.float32(16), x_test / np.float32(16)

    model = fastnn.Sequential(
        [
            fastnn.layers.Dense(128, activation="relu", input_shape=(x_train.shape[1],)),
            fastnn.layers.Dense(128, activation="relu"),
            fastnn.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    start = time.perf_counter()
    history = model.fit(x_train, y_train, epochs=epochs, batch_size=batch_size, validation_data=(x_test, y_test))
    seconds = time.perf_counter() - start

    print()
    model.summary()
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"\nTest accuracy    {accuracy:.2%} of {len(x_test):,} held-back digits (loss {loss:.4f})")
    print(f"Training speed   {len(x_train) * epochs / seconds:,.0f} samples per second, validation included\n")
    print(confusion_matrix(y_test, model.predict(x_test).argmax(axis=1)))

    print("\nSingle rows, each through predict:")
    for row in range(5):
        one = x_test[row : row + 1]
        start = time.perf_counter()
        probabilities = model.predict(one)
        micros = 1e6 * (time.perf_counter() - start)
        guess = int(probabilities.argmax())
        print(f"  a {y_test[row]} is taken for a {guess} with {probabilities[0, guess]:.1%} in {micros:.0f} µs")

    model.save(folder / "digits.fastnn")
    print(f"\n{plot_curves(history, folder / 'digits.png')}")
    print(f"Model: {folder / 'digits.fastnn'} (read it with fastnn.load_model)")


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run the command."""
    parser = argparse.ArgumentParser(prog="python -m fastnn", description="Dense neural networks on CPUs, fast.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("info", help="what was built, and what it found on this machine")
    flags = commands.add_parser("config", help="what a compiler needs to use libfastnn from C")
    for name, meaning in FLAGS.items():
        flags.add_argument(f"--{name}", dest="wanted", action="append_const", const=name, help=meaning)
    options = commands.add_parser("demo", help="train a network on handwritten digits")
    options.add_argument("--epochs", type=int, default=15, help="passes over the data (default %(default)s)")
    options.add_argument("--seed", type=int, default=0, help="same seed, same network (default %(default)s)")
    options.add_argument("--batch-size", type=int, default=32, help="rows a step (default %(default)s)")
    options.add_argument(
        "--out", type=Path, default=Path("fastnn-demo"), help="folder for results (default %(default)s)"
    )
    paths = commands.add_parser("convert", help="write the network of a file in another format, and compare both")
    paths.add_argument("source", type=Path, metavar="IN", help="a file that fastnn.load_model reads")
    paths.add_argument("target", type=Path, metavar="OUT", help=f"a file whose name ends in {_listed(FORMATS)}")
    paths.add_argument("--weights", choices=("float32", "float64", "bfloat16", "int8"), help="how C stores matrices")
    paths.add_argument("--activation", help="what follows each linear layer but the last, if IN holds weights alone")
    given = parser.parse_args(arguments)
    if given.command is None:
        show(parser.format_help())
    elif given.command == "info":
        if text := info():
            show(text)
    elif given.command == "config":
        if not given.wanted:
            flags.error(f"say what to print: {_listed(f'--{name}' for name in FLAGS)}")
        show(config(given.wanted))
    elif given.command == "convert":
        suffix = given.target.suffix.lower()
        if suffix not in FORMATS:
            paths.error(f"OUT must end in {_listed(FORMATS)}, got {given.target}")
        if given.weights and suffix != ".c":
            paths.error(f"--weights is for C, and OUT is {given.target}")
        try:
            for line in convert(given.source, given.target, given.weights, given.activation):
                show(line)
        except (OSError, ValueError, TypeError, ImportError) as error:
            sys.exit(f"{paths.prog}: {' '.join(str(error).split())}")
    elif given.epochs < 1 or given.batch_size < 1 or given.seed < 0:
        parser.error("--epochs and --batch-size must be at least 1, --seed at least 0")
    else:
        demo(given.epochs, given.seed, given.batch_size, given.out)


if __name__ == "__main__":
    main()
