"""What every test shares: the engine under test in the report's header, and no state left behind by a test."""

import gc
import signal
from pathlib import Path

import hypothesis
import numpy as np
import pytest

try:
    import fastnn
    from fastnn._engine import build_info, get_num_threads, set_num_threads
except ModuleNotFoundError as error:
    if error.name not in ("fastnn", "fastnn._engine"):
        raise
    # `python -m pytest` puts the working folder first on sys.path, so a checkout without its extension hides an
    # installed package. An editable install builds the extension into the checkout: then both are the same files.
    raise pytest.UsageError("fastnn's engine is not built here; run: pip install -e '.[test]'") from error

# No deadline: the time of one example says more about the machine's other work than about the code.
hypothesis.settings.register_profile("fastnn", deadline=None, print_blob=True)
# For an emulator of another processor, which takes a hundred times as long: --hypothesis-profile=emulated.
hypothesis.settings.register_profile("emulated", hypothesis.settings.get_profile("fastnn"), max_examples=6)
hypothesis.settings.load_profile("fastnn")


def pytest_report_header():
    info = build_info()
    openmp = f"{info['num_threads']} threads" if info["openmp"] else "no OpenMP"
    folder = Path(fastnn.__file__).parent
    return f"fastnn {fastnn.__version__} from {folder}: {info['isa']}, {openmp}, {info['compiler']}"


def pytest_collection_finish():
    """Takes the collected tests out of the garbage collector's work: thousands of them live as long as the process."""
    gc.freeze()


@pytest.fixture(autouse=True)
def process_wide_settings():
    """Restores the process-wide settings that a test found, for the next test."""
    threads, floatx = get_num_threads(), fastnn.config.floatx()
    yield
    set_num_threads(threads)
    fastnn.config.set_floatx(floatx)


@pytest.fixture(scope="session")
def assert_same_rows():
    """Compares float32 results of rows with those of the same rows among more of them, or in another form.

    They are equal; on a processor with a matrix unit, where many rows take another way than few, to rounding.
    """

    def check(actual, expected, tolerance=2e-5):
        if build_info()["matrix_unit"]:
            # Float32 sums of a thousand terms, of order one before they cancel each other, through two layers.
            np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(actual, expected)

    return check


@pytest.fixture
def ctrl_c():
    """The signal of Ctrl-C, which raises KeyboardInterrupt here though shells let jobs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.SIGINT
    signal.signal(signal.SIGINT, before)
