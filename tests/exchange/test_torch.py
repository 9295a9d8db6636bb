"""PyTorch's files and names, without PyTorch; tests/exchange_live has what needs it."""

import subprocess
import sys

import numpy as np
import pytest

import fastnn


@pytest.mark.parametrize("value", [None, 3, "net.pt", np.zeros(3), fastnn.Sequential()])
def test_other_objects_than_modules_are_refused(value):
    with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module"):
        fastnn.from_torch(value)


def test_torch_is_not_imported_for_other_objects():
    script = "import sys, fastnn\ntry: fastnn.from_torch(3)\nexcept TypeError: pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
