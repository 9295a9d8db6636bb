"""One fit on many machines: ranks that MPI has started, as ``mpirun -n 16 python train.py``, train a model together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from fastnn import _ranks
from fastnn._public import publish
from fastnn._threads import num_threads as threads
from fastnn.distributed import _group, _hosts, _wire

__all__ = ["data_parallel", "rank", "size"]


def rank() -> int:
    """Return the number of this process among those that were started together, from 0; 0 where it was started alone.

    Returns
    -------
    int

    Raises
    ------
    ImportError
        When a launcher has started several processes, and mpi4py or an MPI library is missing.

    Examples
    --------
    >>> if rank() == 0:
    ...     print("read by one, written once")
    read by one, written once
    """
    comm = _hosts.world()
    return 0 if comm is None else int(comm.Get_rank())


def size() -> int:
    """Return how many processes were started together; 1 where this one was started alone.

    Returns
    -------
    int

    Raises
    ------
    ImportError
        When a launcher has started several processes, and mpi4py or an MPI library is missing.

    Examples
    --------
    >>> size()
    1
    """
    comm = _hosts.world()
    return 1 if comm is None else int(comm.Get_size())


@contextmanager
def data_parallel(
    shards: int | None = None,
    reduction: str = "exact",
    *,
    sharded: bool = False,
    shard_optimizer: bool = False,
    wire: str | None = None,
    moments: str = "batch",
    num_threads: int | None = None,
    comm: Any = None,
) -> Iterator[None]:
    """Let all ranks train and evaluate models together within a ``with`` block: each takes its share of every batch.

    Within the block ``fit``, ``evaluate`` and ``predict`` are calls of all ranks, with the same model and arguments.
    ``batch_size`` is that of all ranks together. Weights, logs and predictions are the same on all of them. Without
    MPI, or with one rank, the block works alone, and gives the bits that any number of ranks gives.

    Parameters
    ----------
    shards : int, optional
        In how many parts the rows of a batch are cut, a multiple of the number of ranks. Gradients are summed part by
        part in one fixed order, so that all numbers of ranks that divide `shards` give the same bits. Default: 8, or
        the least common multiple of 8 and the ranks.
    reduction : {"exact", "fast"}, default "exact"
        How gradients are summed over ranks: in that fixed order, or as the MPI library likes, a part for each rank.
    sharded : bool, default False
        Whether x and y hold the rows of this rank alone, equally many on each rank. By default each rank is given all
        rows and reads its own.
    shard_optimizer : bool, default False
        Whether each rank updates its share of the parameters, and needs memory for its share of the optimizer's state
        alone; not for what needs all gradients at once, as clipping by a norm or Muon.
    wire : {None, "bfloat16"}, optional
        With ``"fast"``, ``"bfloat16"`` sends float32 gradients in half the bytes; what rounding leaves out is added to
        the next step's.
    moments : {"batch", "shard"}, default "batch"
        Whether batch normalization takes the moments of the whole batch, or of each of the `shards` parts, which needs
        no messages.
    num_threads : int, optional
        The threads of this rank. Default: its share of the host's processors, unless OMP_NUM_THREADS or
        :func:`fastnn.set_num_threads` says otherwise.
    comm : mpi4py.MPI.Intracomm, optional
        The ranks. Default: all that were started together.

    Raises
    ------
    ImportError
        When a launcher has started several processes, and mpi4py or an MPI library is missing.
    ValueError, TypeError
        When an argument cannot be used.
    RuntimeError
        When blocks are nested. Within the block, when another rank has failed.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> with fastnn.distributed.data_parallel():
    ...     history = model.fit([[1.0, 2.0], [3.0, 4.0]], [[1.0], [2.0]], verbose=0)
    """
    if _ranks.current() is not _ranks.ALONE:
        raise RuntimeError("data_parallel cannot be entered within data_parallel, or in a callback of its fit")
    settings = _group.Settings.checked(shards, reduction, sharded, shard_optimizer, wire, moments)
    comm = _hosts.world() if comm is None else comm
    channel = _wire.Wire() if comm is None or comm.Get_size() == 1 else _wire.MPIWire(comm)
    group = _group.Group(channel, settings)
    own_threads = num_threads if num_threads is not None or comm is None else _hosts.threads_of_a_rank(comm)
    try:
        with nullcontext() if own_threads is None else threads(own_threads), _ranks.together(group):
            yield
    except BaseException as error:
        group.leave(error)
        raise
    else:
        group.leave(None)
    finally:
        channel.close()


publish(__name__, __all__)
