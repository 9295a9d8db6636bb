"""Ranks that are threads of this process: what MPI does for processes, with lists and a barrier."""

import threading

import numpy as np

from fastnn import _ranks
from fastnn.distributed._group import Group, Settings
from fastnn.distributed._wire import Wire

SECONDS = 60  # a wait that no other rank ends


class Hall:
    """Where threads leave what others take."""

    def __init__(self, size):
        self.size, self.failed = size, ""
        self.barrier, self.table = threading.Barrier(size), [None] * size


class ThreadWire(Wire):
    def __init__(self, hall, rank):
        self.hall, self.rank, self.size = hall, rank, hall.size

    @property
    def broken(self):
        return bool(self.hall.failed)

    def _swapped(self, value):
        """What each rank has laid on the table; nobody goes on before all have read."""
        try:
            self.hall.table[self.rank] = value
            self.hall.barrier.wait(SECONDS)
            found = list(self.hall.table)
            self.hall.barrier.wait(SECONDS)
        except threading.BrokenBarrierError:
            raise RuntimeError(self.hall.failed or "a rank has not come") from None
        return found

    def numbers(self, values):
        return np.stack(self._swapped(np.array(values)))

    def texts(self, text):
        return self._swapped(text)

    def broadcast(self, array):
        array[...] = self._swapped(array.copy())[0]

    def deliver(self, sent, received):
        table = self._swapped([(to, array.copy()) for to, array in sent])
        at = [iter([array for to, array in row if to == self.rank]) for row in table]
        for rank, array in received:
            array[...] = next(at[rank])

    def sum(self, array):
        array[...] = np.sum(self._swapped(array.copy()), axis=0, dtype=array.dtype)

    def fail(self, sentence):
        self.hall.failed = self.hall.failed or f"rank {self.rank} failed: {sentence}"
        self.hall.barrier.abort()


def settings(**told):
    default = {"shards": None, "reduction": "exact", "sharded": False, "shard_optimizer": False}
    return Settings.checked(**default | {"wire": None, "moments": "batch"} | told)


def on_ranks(size, function, **told):
    """What a function of the rank returns, or raises, on each of so many ranks that train together."""
    hall, found = Hall(size), [None] * size

    def run(rank):
        group = Group(Wire() if size == 1 else ThreadWire(hall, rank), settings(**told))
        with _ranks.together(group):
            try:
                found[rank] = function(rank)
            except Exception as error:  # noqa: BLE001 - the tests look at it
                found[rank] = error
                group.leave(error)
                return
            try:
                group.leave(None)
            except RuntimeError as error:
                found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    return found


def raised(found):
    """The sentences of errors that each rank has raised."""
    return [str(one) if isinstance(one, Exception) else f"no error: {one}" for one in found]
