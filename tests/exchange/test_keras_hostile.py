"""Files that look like Keras's and are made to do harm: one sentence, within memory and time."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from exchange.keras_hostile import HOSTILE, archive, whole_h5, with_file, write_all
from fuzz_keras import mutant, seeds, try_one

import fastnn

# peak of resident memory in a process of its own, file after file: what is counted cannot hide in a C library
MEASURE = """
import re, sys
from pathlib import Path
import fastnn
fastnn.load_keras(sys.argv[1] + "/whole")
def peak():
    return 1024 * int(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1])
for path in sorted(Path(sys.argv[1]).iterdir()):
    before = peak()
    try:
        fastnn.load_keras(path)
    except fastnn.ModelFileError:
        pass
    print(path.name, peak() - before, 2 * path.stat().st_size + 2**26)
"""


def test_the_files_without_harm_are_read():
    for content in (archive(), whole_h5()):
        assert with_file(content, fastnn.load_model).count_params() == 15


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_raises_one_sentence(name):
    make, said = HOSTILE[name]
    with pytest.raises(fastnn.ModelFileError, match=said) as caught:
        with_file(make(), fastnn.load_keras)
    assert "\n" not in str(caught.value)


def test_changed_files_are_read_or_refused_in_one_sentence():
    files = seeds()
    for number in range(150):  # some of those that the command tests/fuzz_keras.py tries
        changed = mutant(files, number)
        if changed is not None:
            with_file(changed[1], lambda path, number=number: try_one(path, number % 4 == 0))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's count of a process's memory")
def test_no_hostile_file_takes_more_memory_than_twice_its_size_and_64_mib():
    with tempfile.TemporaryDirectory() as folder:
        write_all(folder)
        (Path(folder) / "whole").write_bytes(archive())
        done = subprocess.run([sys.executable, "-c", MEASURE, folder], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        name, grown, most = line.split()
        assert int(grown) <= int(most), list(HOSTILE)[int(name)]
