"""The ranks of a data-parallel training: what loops and callbacks ask of them, answered for all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from fastnn import _ranks
from fastnn._model import Progress
from fastnn._settings import count, flag
from fastnn._terminal import silenced
from fastnn.callbacks import CallbackList
from fastnn.distributed._differences import difference
from fastnn.distributed._exchange import Exchange, FastExchange, shards_of
from fastnn.distributed._news import sentence_of
from fastnn.distributed._wire import Wire

if TYPE_CHECKING:
    from fastnn import goals
    from fastnn._engine import Engine
    from fastnn._model import Kept, Model
    from fastnn.callbacks import Callback
    from fastnn.data.feeds import Chunk

Array = npt.NDArray[Any]
Sums = npt.NDArray[np.float64]

END = "the end of data_parallel"  # a call that a rank makes last
STATE_HOOKS = ("on_epoch_end", "on_train_batch_end")  # hooks in which a callback may read the optimizer's state


class Settings(NamedTuple):
    """What ``data_parallel`` was given, which must be the same on all ranks."""

    shards: int | None
    reduction: str
    sharded: bool
    shard_optimizer: bool
    wire: str | None
    moments: str

    @classmethod
    def checked(
        cls, shards: Any, reduction: Any, sharded: Any, shard_optimizer: Any, wire: Any, moments: Any
    ) -> Settings:
        """Return the settings; raise TypeError or ValueError where they cannot be used."""
        known: dict[str, tuple[Any, tuple[Any, ...]]] = {
            "reduction": (reduction, ("exact", "fast")),
            "wire": (wire, (None, "bfloat16")),
            "moments": (moments, ("batch", "shard")),
        }
        for name, (value, allowed) in known.items():
            if value not in allowed:
                raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {value!r}")
        if reduction == "exact" and wire is not None:
            raise ValueError(f"wire={wire!r} rounds gradients, so it needs reduction='fast', got reduction='exact'")
        if reduction == "fast" and shards is not None:
            raise ValueError(f"shards={shards} needs reduction='exact', as 'fast' has a part for each rank")
        wanted = None if shards is None else count("shards", shards, 1)
        own_rows, shares = flag("sharded", sharded), flag("shard_optimizer", shard_optimizer)
        return cls(wanted, reduction, own_rows, shares, wire, moments)

    def exchange(self, wire: Wire) -> Exchange:
        """Return what the engine is given; raise ValueError where the ranks cannot hold equally many shards."""
        told = self.sharded, self.shard_optimizer and wire.size > 1, self.moments
        if self.reduction == "fast":
            return FastExchange(wire, *told, self.wire == "bfloat16")
        return Exchange(wire, shards_of(wire.size, self.shards), *told)


class _Here(_ranks.Ranks):
    """What hooks see: this process alone, which knows its rank."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def calls(self, callback: Callback) -> bool:
        return self.rank == 0 or not callback.first_rank_only


class Group(_ranks.Ranks):
    """The ranks of a wire, with what they exchange within a step.

    A call of all ranks begins with a meeting: each rank says which call it is and what it was given, or why it cannot
    make it. Where that does not fit, every rank raises the same sentence, and the ranks stay in step. An error after
    the meeting ends the calls of the other ranks too, at their next wait, and with them the group.

    Parameters
    ----------
    wire : Wire
    settings : Settings
    """

    def __init__(self, wire: Wire, settings: Settings) -> None:
        exchange = settings.exchange(wire)
        self._wire, self._settings = wire, settings._replace(shards=exchange.shards)
        self.rank, self.size = wire.rank, wire.size
        self.exchange: Exchange = exchange
        self.sharded, self.shares_rows = exchange.sharded, not exchange.sharded
        self.shards, self.all_shards = range(exchange.first, exchange.first + exchange.count), exchange.shards
        self._here = _Here(self.rank)
        self._kind = ""  # of the call that is going on
        self._in_step = True  # whether an error here is known to all ranks, or can be told them in the next meeting
        self._met = False
        self._ended = False  # whether a rank has met the others for the last time
        self._engine: Engine | None = None  # of the fit that is going on
        self._read_in: frozenset[str] = frozenset()  # the hooks in which a callback on any rank may read its state

    # ---- calls ----

    @contextmanager
    def call(self, kind: str) -> Iterator[None]:
        """Return the context of a call of all ranks, of which an error on one rank ends those of the others."""
        self._kind, self._met, self._in_step = kind, False, True
        try:
            yield
        except BaseException as error:
            if not self._met:
                self._records({"error": sentence_of(error)})
            elif not self._in_step:
                self._wire.fail(sentence_of(error))
            raise
        finally:
            self._kind, self._engine = "", None

    def leave(self, error: BaseException | None) -> None:
        """End the group, on all ranks: an error that ends the block here ends it on the other ranks too."""
        if self._wire.broken or self._ended:
            return
        self._kind = END
        if error is None:
            self._meet({})
        else:
            self._records({"error": sentence_of(error)})

    def _records(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what all ranks say at a meeting."""
        self._met = True
        texts = self._wire.texts(json.dumps({"call": self._kind} | record).encode())
        records = [json.loads(text) for text in texts]
        self._ended = any(one["call"] == END for one in records)
        return records

    def _meet(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what all ranks say at a meeting, where all make the same call and none has an error."""
        records = self._records(record)
        for rank, one in enumerate(records):
            if "error" in one:
                raise RuntimeError(f"rank {rank} failed: {one['error']}")
        for rank, one in enumerate(records):
            if one["call"] != records[0]["call"]:
                raise RuntimeError(
                    f"rank {rank} came to {one['call']} and rank 0 to {records[0]['call']}: within data_parallel all "
                    f"ranks make the same calls, and calls of one rank stand before or after the block"
                )
        return records

    def agree(self, model: Model, facts: dict[str, Any], callbacks: Sequence[Callback] = ()) -> None:
        """Raise on all ranks where these were given something else; give each the state that rank 0's model has."""
        kept, trains = cast("Kept", model), self._kind == "fit"
        engine = model._need_engine(self._kind)
        if trains and self.exchange.shares and getattr(model.optimizer, "use_ema", False):
            raise ValueError(
                "shard_optimizer=True is not for an optimizer with use_ema=True: it keeps an average of the weights, "
                "which every rank needs whole"
            )
        listed = CallbackList(callbacks)
        read = [callback for callback in listed.callbacks if callback._reads_state]
        record = {
            "facts": {"data_parallel": self._settings._asdict()} | facts,
            "callbacks": [type(callback).__name__ for callback in listed.callbacks if callback._of_all_ranks],
            "read in": [hook for hook in STATE_HOOKS if CallbackList(read).wants(hook)],
            "step": int(engine.iterations),
            "state": _digest(kept, engine, trains),
        }
        records = self._meet(record)
        sentence = difference([one["facts"] | {"callbacks": one["callbacks"]} for one in records])
        if sentence:
            raise ValueError(sentence)
        if any(one["state"] != records[0]["state"] for one in records):
            if not trains:
                raise ValueError(
                    "the ranks' models have different weights: load them on every rank, or fit, which begins with "
                    "those of rank 0"
                )
            self._take_over(kept, engine, slots=any(one["step"] for one in records))
        self._engine, self._in_step = engine, False
        self._read_in = frozenset(hook for one in records for hook in one["read in"])

    def _take_over(self, model: Kept, engine: Engine, slots: bool) -> None:
        """Give the model the weights, the optimizer's state and the seed of rank 0's."""
        texts = self._wire.texts(json.dumps(model._progress).encode() if self.rank == 0 else b"")
        with model._home.setting_weights():
            for array in (engine.parameters, *(engine.slots if slots else ())):
                self._wire.broadcast(array)
            *numbers, course = json.loads(texts[0])
            model._progress = Progress(*numbers, tuple(course))  # type: ignore[call-arg]

    def check_start(self, epoch: int, step: int) -> None:
        """Raise on all ranks where these would not begin with the same epoch and step, as after a backup."""
        starts = self._wire.numbers(np.array([epoch, step]))
        for rank, start in enumerate(starts):
            if any(start != starts[0]):
                self._in_step = True
                raise RuntimeError(
                    f"rank {rank} would begin with epoch {start[0] + 1}, step {start[1]}, and rank 0 with epoch "
                    f"{starts[0][0] + 1}, step {starts[0][1]}: a backup must lie on a disk that all ranks see"
                )

    def refuse(self, call: str) -> None:
        """Raise where ranks train together, and this call would be of one of them alone."""
        raise RuntimeError(
            f"{call} would change the model of this rank alone: within data_parallel call fit, or {call} outside the "
            f"block"
        )

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set on any of the ranks."""
        return bool(self._wire.numbers(np.array(bool(flag))).any())

    # ---- rows and sums ----

    def rows_of_a_batch(self, rows: int) -> int:
        """Return how many of the rows of a batch x of this rank has."""
        if self.sharded and rows % self.size:
            raise ValueError(
                f"batch_size must be a multiple of the {self.size} ranks, each of which has a share of a batch, got "
                f"{rows}"
            )
        return rows // self.size if self.sharded else rows

    def batches(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Yield the batches of an iterable for as long as all ranks have one of as many rows."""
        while True:
            chunk = next(chunks, None)
            rows = self._wire.numbers(np.array(0 if chunk is None else chunk.rows))
            if (rows != rows[0]).any():
                rank = int(np.argmax(rows != rows[0]))
                self._in_step = True  # as every rank raises this
                raise ValueError(
                    f"x must give batches of as many rows on all ranks, got {rows[0]} on rank 0 and {rows[rank]} on "
                    f"rank {rank}"
                )
            if chunk is None:
                return
            yield chunk

    def merged(self, layout: goals.Layout, sums: Sums, more: Sums) -> Sums:
        """Return the sums over both sets of rows, shard by shard."""
        return np.stack([layout.merged(one, other) for one, other in zip(sums, more, strict=True)])

    def whole(self, layout: goals.Layout, sums: Sums) -> Sums:
        """Return the sums over the rows of all ranks."""
        return sums if sums.ndim == 1 else _folded(layout, self.parts(sums))

    def parts(self, sums: Sums) -> Sums:
        """Return the sums of the shards of all ranks, for a file from which any number of ranks can go on."""
        return sums if sums.ndim == 1 else self._wire.numbers(sums).reshape(self.all_shards, -1)

    def own(self, sums: Sums) -> Sums:
        """Return what this rank has of the result of :meth:`parts`."""
        return sums if sums.ndim == 1 else sums[self.shards.start : self.shards.stop].copy()

    def united(self, layout: goals.Layout, parts: Sequence[tuple[Sums, int]]) -> tuple[Sums, int]:
        """Return the sums over the rows of all ranks, and their number, of those of each part of this rank's."""
        said = [np.concatenate([[rows, len(sums)], sums]) for sums, rows in parts]
        every = np.frombuffer(b"".join(self._wire.texts(np.concatenate(said).tobytes())), np.float64)
        found, total, at = [], 0, 0
        while at < len(every):
            rows, length = int(every[at]), int(every[at + 1])
            found += [every[at + 2 : at + 2 + length]] if rows else []
            total, at = total + rows, at + 2 + length
        return _folded(layout, found), total

    def shown(self, layout: goals.Layout, sums: Sums, rows: int) -> tuple[Sums, int]:
        """Return sums and their number of rows for a bar, which asks no other rank."""
        own = rows if self.sharded else max(1, rows * len(self.shards) // self.all_shards)
        return (sums, own) if sums.ndim == 1 else (_folded(layout, sums), own)

    def rows(self, rows: int) -> int:
        """Return the rows of all ranks, of which this one has `rows`."""
        return rows * self.size if self.sharded else rows

    def earliest(self, step: int) -> int:
        """Return the first of a step that each rank says; -1 where no rank has one."""
        steps = self._wire.numbers(np.array(step))
        return int(min(steps[steps >= 0], default=-1))

    def predicted(self, rows: int) -> slice:
        """Return which of the rows of a prediction are computed here."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def outputs(self, out: Array) -> None:
        """Fill in the rows of a prediction that other ranks have computed."""
        rows, width = out.shape
        ends = [rows * rank // self.size * width for rank in range(self.size + 1)]
        self._wire.gather(out.reshape(-1), list(pairwise(ends)))

    # ---- callbacks ----

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Return the context of a hook, whose calls are those of this process alone; rank 0 alone prints."""
        with _ranks.together(self._here), silenced(self.rank > 0):
            yield

    def calls(self, callback: Callback) -> bool:
        """Return whether the hooks of a callback are called on this rank."""
        return self._here.calls(callback)

    def ready_for(self, hook: str) -> None:
        """Bring here what callbacks may read in a hook, and what other ranks hold."""
        if self.exchange.shares is None or self._engine is None:
            return
        if hook == "on_train_end" or hook in self._read_in:
            for slot in self._engine.slots:
                self.exchange.gather(slot)

    def state(self) -> dict[str, Any]:
        """Return what of the ranks the bits of a training depend on."""
        told = self._settings
        exact = told.reduction == "exact" and not told.sharded
        found = {"reduction": told.reduction, "shards": told.shards, "moments": told.moments}
        return found | ({} if exact else {"ranks": self.size})

    def check(self, state: dict[str, Any]) -> None:
        """Raise where a training with this :meth:`state` would go on with other bits."""
        here = self.state()
        for name, value in state.items():
            if here.get(name) != value:
                raise ValueError(
                    f"the backup is that of a training with {name}={value!r}, and this one has {name}="
                    f"{here.get(name)!r}: go on with the former, or begin in another folder"
                )


def _folded(layout: goals.Layout, parts: Sequence[Sums] | Sums) -> Sums:
    """Return the sums of shards, merged in their order."""
    total: Sums | None = None
    for part in parts:
        total = part if total is None else layout.merged(total, part)
    return np.zeros(1) if total is None else total


def _digest(model: Kept, engine: Engine, trains: bool) -> str:
    """Return a hash of the weights, and of all that training goes on from."""
    found = hashlib.blake2b(digest_size=16)
    arrays: list[Any] = [engine.parameters, *(engine.slots if trains and engine.iterations else ())]
    for array in arrays:
        found.update(array)
    if trains:
        found.update(repr(tuple(model._progress)).encode())
    return found.hexdigest()
