"""`python -m fastnn`: the two commands, as a stranger runs them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn.__main__ import main


@pytest.mark.thread_unsafe(reason="sets the process-wide seed and captures what the process prints")
def test_demo_trains_saves_and_says_so(tmp_path, capsys):
    main(["demo", "--epochs", "6", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    for part in ("Epoch 6/6", "Test accuracy    9", "samples per second", "true \\ taken for", "µs", "digits.fastnn"):
        assert part in printed
    model = fastnn.load_model(tmp_path / "digits.fastnn")
    _, (x_test, y_test) = fastnn.datasets.load_digits()
    assert (model.predict(x_test / np.float32(16)).argmax(axis=1) == y_test).mean() > 0.95
    drawn = "matplotlib" in sys.modules
    assert (tmp_path / "digits.png").exists() == drawn
    assert ("pip install 'fastnn-cpu[demo]'" in printed) != drawn


@pytest.mark.thread_unsafe(reason="captures what the process prints")
def test_info_names_what_it_found(capsys):
    main(["info"])
    printed = capsys.readouterr().out
    assert f"fastnn           {fastnn.__version__}" in printed
    for part in ("instruction set", "caches", "libraries", "FASTNN_ISA"):
        assert part in printed


@pytest.mark.thread_unsafe(reason="captures what the process prints")
def test_without_a_command_the_help_is_printed(capsys):
    main([])
    assert "usage: python -m fastnn" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("arguments", [["info"], ["config", "--cflags"], []])
def test_an_output_that_is_full_is_named(arguments):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "fastnn", *arguments]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert ended.stderr == "python -m fastnn: standard output: No space left on device\n"


def test_an_output_that_nobody_reads_ends_it_without_a_word():
    reads, writes = os.pipe()
    os.close(reads)
    ended = subprocess.run([sys.executable, "-m", "fastnn", "info"], stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_digits_are_whole():
    for by_writer, rows in ((False, (4496, 1124)), (True, (3823, 1797))):
        parts = fastnn.datasets.load_digits(by_writer=by_writer)
        for (x, y), count in zip(parts, rows, strict=True):
            assert x.shape == (count, 64)
            assert x.max() == 16
            assert set(y) == set(range(10))
