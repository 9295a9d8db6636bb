"""Trains one network in several ranks, without any MPI: each rank is a thread with a model of its own.

The threads meet at a barrier and add up in plain Python what MPI would send: so tests of the engine's part of such a
training need nothing installed.
"""

import threading

import numpy as np

import fastnn
from fastnn._engine import add, share_of, tree_nodes


class Meeting:
    """Where the ranks of one training meet, and what each has brought."""

    def __init__(self, ranks):
        self.ranks, self.brought = ranks, [None] * ranks
        self.barrier = threading.Barrier(ranks, timeout=60)


class Exchange:
    """A rank's part of a training, as Engine.train takes it."""

    def __init__(self, meeting, rank, shards, *, sharded=False, shared_updates=False, moments="batch"):
        self.meeting, self.rank, self.shards = meeting, rank, shards
        self.count = shards // meeting.ranks
        self.first = rank * self.count
        self.sharded, self.moments = sharded, moments
        self.shares = (rank, meeting.ranks) if shared_updates else None
        self.calls = []

    def together(self, value):
        """Return what all ranks have brought, in their order, and wait until each has taken it."""
        self.meeting.brought[self.rank] = value
        self.meeting.barrier.wait()
        everything = list(self.meeting.brought)
        self.meeting.barrier.wait()
        return everything

    def tree(self, parts):
        """The sum over all ranks' nodes in the order of the tree."""
        nodes = {}
        for rank, rows in enumerate(self.together(np.array(parts))):
            nodes |= dict(zip(tree_nodes(self.shards, rank * self.count, self.count), rows, strict=True))

        def node(a, b):
            if (a, b) in nodes:
                return nodes[a, b]
            left, right = node(a, (a + b) // 2), node((a + b) // 2, b)
            total = np.empty_like(left)
            add(left, right, total)
            return total

        return node(0, self.shards)

    def total(self, parts):
        self.calls.append("total")
        parts[0] = self.tree(parts)

    def share_total(self, parts):
        """Only the share of this rank becomes right: what lies beside it must not matter."""
        self.calls.append("share total")
        low, high = share_of(parts.shape[1], *self.shares, parts.itemsize)
        total = self.tree(parts)
        parts[0] = np.nan
        parts[0, low:high] = total[low:high]

    def gather(self, array):
        self.calls.append("gather")
        for rank, other in enumerate(self.together(array.copy())):
            low, high = share_of(len(array), rank, self.meeting.ranks, array.itemsize)
            array[low:high] = other[low:high]


def batches(order, size):
    return [order[start : start + size] for start in range(0, len(order), size)]


def own_rows(exchange, rows):
    """The rows of a rank among those of one batch of all."""
    first, end = (k * len(rows) // exchange.shards for k in (exchange.first, exchange.first + exchange.count))
    return rows[first:end]


def train(model, x, y, *, exchange=None, batch=32, epochs=2, weights=None):
    """Train a compiled model with the engine's own call; return the sums of each epoch."""
    samples = model._samples("fit", x, y, weights, check_finite=True)
    found = []
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(samples))
        size = batch
        if exchange and exchange.sharded:
            order = np.concatenate([own_rows(exchange, rows) for rows in batches(order, batch)])
            size = batch * exchange.count // exchange.shards
        engine, _, optimizer = model._ready("fit")
        sums, bad = engine.train(
            samples.x, samples.y, order, size, optimizer.hyperparameters(), None, samples.weights, exchange=exchange
        )
        assert bad == -1
        found.append(sums)
    return found


def train_ranks(make, x, y, ranks, shards, *, sharded=False, shared_updates=False, moments="batch", **settings):
    """Train a model in each rank; return the models, each rank's sums, and the exchanges."""
    meeting = Meeting(ranks)
    options = {"sharded": sharded, "shared_updates": shared_updates, "moments": moments}
    exchanges = [Exchange(meeting, rank, shards, **options) for rank in range(ranks)]
    models, sums, errors = [make() for _ in range(ranks)], [None] * ranks, []

    def run(rank):
        try:
            sums[rank] = train(models[rank], x, y, exchange=exchanges[rank], **settings)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
            errors.append(error)
            meeting.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors.sort(key=lambda error: isinstance(error, threading.BrokenBarrierError))
    if errors:
        raise errors[0]
    return models, sums, exchanges


def state(model, slots=True):
    """All that a step changes, as arrays."""
    engine = model._engine
    return [engine.parameters, *(engine.slots if slots else ())]


def model_of(stack, *, features, dtype="float32", loss="mse", optimizer="adam", metrics=(), **compiling):
    """A model with weights that are the same at each call, in any thread."""
    model = fastnn.Sequential([fastnn.Input((features,), dtype=dtype), *stack()])
    generator = np.random.default_rng(3)
    model.set_weights(
        [
            generator.uniform(0.1, 0.4, array.shape) * generator.choice([-1, 1] if array.ndim > 1 else [1], array.shape)
            for array in model.get_weights()
        ]
    )
    model._seed = 3
    model.compile(optimizer(), loss, metrics=list(metrics), **compiling)
    return model
