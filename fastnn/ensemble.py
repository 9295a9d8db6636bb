"""Many small models at once: one to a thread, so that none of them waits for another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fastnn import _members, _ranks, goals, loop
from fastnn._arguments import counts_of_each, validation_due, verbosity
from fastnn._fitting import Fitting
from fastnn._groups import Group, check_executor, train_on_workers, validation
from fastnn._members import Prediction, Rows, Training, Wish
from fastnn._model import Member
from fastnn._public import Described, counted
from fastnn._settings import flag, number
from fastnn.callbacks import Callback, CallbackList, History
from fastnn.callbacks._of_members import callbacks_of_members
from fastnn.data import row_weights
from fastnn.data.feeds import ArrayFeed, Samples
from fastnn.data.row_sets import row_sets
from fastnn.models import Sequential
from fastnn.optimizers import LBFGS

Array = npt.NDArray[Any]


class Ensemble(Described):
    """Compiled models that are trained at once, and that answer together.

    A network of a few thousand weights is too small to be shared among threads, but several networks are not. Each
    member trains exactly as it would alone: with its own rows, seed, order of rows, optimizer, loss and shape, to the
    same bits.

    Parameters
    ----------
    models : sequence of Sequential
        Compiled models, which remain usable by themselves.

    Attributes
    ----------
    models : list of Sequential

    Examples
    --------
    >>> import fastnn
    >>> models = [fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))]) for _ in range(3)]
    >>> for rate, model in zip((0.1, 0.01, 0.001), models):
    ...     model.compile(fastnn.optimizers.Adam(rate), "mse")
    >>> histories = fastnn.Ensemble(models).fit([[0.0, 1.0]], [[1.0]], verbose=0)
    """

    def __init__(self, models: Sequence[Sequential]) -> None:
        self.models = list(models)
        if not self.models:
            raise ValueError("models must hold at least one model")
        for model in self.models:
            if not isinstance(model, Sequential):
                raise TypeError(f"models must hold Sequential models, got {type(model).__name__}")
        if len({id(model) for model in self.models}) < len(self.models):
            raise ValueError("models must be different objects: one of them is there twice")

    def _facts(self) -> str:
        return counted(len(self.models), "model")

    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int | Sequence[int] | None = None,
        epochs: int | Sequence[int] = 1,
        verbose: str | int = "auto",
        *,
        callbacks: Callback | Sequence[Callback] | Sequence[Sequence[Callback]] | None = None,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | str | Sequence[Any] | None = None,
        sample_weight: Any = None,
        validation_freq: int | Iterable[int] = 1,
        check_finite: bool = True,
        rows: Any = None,
        validation_rows: Any = None,
        drop_remainder: bool = False,
        mixup: float = 0.0,
        executor: Executor | None = None,
        groups: int | None = None,
    ) -> list[History]:
        """Train every member, `epochs` times over its rows.

        An epoch of all members is one call into the engine; without callbacks, validation and lines to print, all
        epochs are. A member that a callback has stopped costs nothing from then on.

        Parameters
        ----------
        x, y : array-like
            Data as for :meth:`Sequential.fit`, in memory; y must suit the loss of every member.
        batch_size : int or sequence of int, default 32
            One number, or one for each member.
        epochs : int or sequence of int, default 1
            One number, or one for each member.
        verbose : {"auto", 0, 1, 2}
            Accepted as in Keras; unless it is 0, a line with the mean loss is printed for each epoch.
        callbacks : Callback, sequence of Callback or sequence of sequences of Callback, optional
            Every member has deep copies of callbacks that are given once; a list for each member holds its own, which
            afterwards tell what they have seen. Their hooks are called as by :meth:`Sequential.fit`; hooks for batches
            are not.
        validation_data : tuple (x, y) or (x, y, sample_weight), optional
            What all members are evaluated on after each epoch.
        shuffle : bool, default True
            Whether each member takes its rows in another order each epoch, as alone.
        class_weight : dict, "balanced", or sequence of such or None, optional
            As for :meth:`Sequential.fit`: one for all members, or one for each. ``"balanced"`` counts a member's rows.
        sample_weight : array-like, shape (rows,) or (members, rows), or sequence of such weights, optional
            As for :meth:`Sequential.fit`, with a weight for each row of x: the same for all members, or in a list or a
            table with a row for each member.
        validation_freq : int or collection of int, default 1
            Validate after every `validation_freq` epochs, or after the epochs listed (counted from 1).
        check_finite : bool, default True
        rows : sequence of array-like or None, optional
            For each member the numbers of the rows of x that it trains on, some perhaps several times, or a bool for
            each row; None stands for all rows. A member ends with the bits that it would have after a fit on these
            rows alone, and x is not copied.
        validation_rows : sequence of array-like, optional
            For each member, in the same form, the rows of x that it is evaluated on after each epoch, with their
            weights in `sample_weight`.
        drop_remainder : bool, default False
        mixup : float, default 0
            As for :meth:`Sequential.fit`.
        executor : concurrent.futures.Executor, optional
            Whose workers train the members, each a group of them, to the same bits: a pool of processes, or the
            executor of Dask, mpi4py and others, with workers on many machines. x and y are sent once for a group,
            callbacks are called in the workers, and come back as these leave them. Where a group fails, or after
            Ctrl-C, no member has changed. Default: this process.
        groups : int, optional
            How many groups of neighbours the members are cut into. Default: as many as the executor has workers, where
            it says so as those of concurrent.futures and mpi4py do; else each member is a group.

        Returns
        -------
        list of History
            One history for each member.

        Raises
        ------
        ValueError, TypeError, IndexError, RuntimeError
            When an argument cannot be used; the message is one sentence, and no member has changed.
        KeyboardInterrupt
            After Ctrl-C; every member has the weights of its last finished step.
        """
        _ranks.current().refuse("Ensemble.fit")
        members: Sequence[Member] = self.models
        parts = check_executor(executor, groups, len(members))
        batches = counts_of_each("batch_size", 32 if batch_size is None else batch_size, len(members), 1)
        ends = counts_of_each("epochs", epochs, len(members), 0)
        shown, shuffle, due = verbosity(verbose), flag("shuffle", shuffle), validation_due(validation_freq)
        hooks, drop = callbacks_of_members(callbacks, len(members)), flag("drop_remainder", drop_remainder)
        mixed = number("mixup", mixup, 0.0)
        _check_trainable(members)
        with _as_they_were_on_error(members, x, y):
            samples = self._samples("fit", x, y, sample_weight, check_finite=check_finite)
            for weights in {id(one.weights): one.weights for one in samples if one.weights is not None}.values():
                row_weights.warn_of_negative(weights, "sample_weight")
            sets = row_sets(rows, len(members), len(samples[0]), "rows", may_be_all=True)
            told = [[value] * len(members) for value in (drop, mixed)]
            trained = list(map(_Alike(Rows), samples, sets, batches, *told))
            held = self._held(trained, validation_data, validation_rows, check_finite)
            trained = _class_weighted(members, trained, class_weight)
            for model, own, one, end in zip(members, hooks, trained, ends, strict=True):
                ready, model._looked_at = model._ready("fit"), None
                if mixed:
                    model._check_mixup(one.samples.x)
                if end:
                    model._look_at_first_rows(ready, one.samples, one.batch, one.order)
                own.check_logs(model, held is not None and any(map(due, range(end))))

        group = Group(members, hooks, trained, held, due, ends, shuffle, shown)
        return group.train_here() if executor is None else train_on_workers(group, executor, parts)

    def _samples(
        self, action: str, x: Any, y: Any, sample_weight: Any, *, check_finite: bool, of: str = ""
    ) -> list[Samples]:
        """Return the samples of each member; messages put `of` before the names of x, y and their weights."""
        pairs = self._pairs(action, x, y, check_finite, (f"{of}x", f"{of}y"))
        weights = self._weights(sample_weight, len(pairs[0][0]), check_finite, f"{of}sample_weight")
        alike = _Alike(Samples)
        return [alike(*pair, weight) for pair, weight in zip(pairs, weights, strict=True)]

    def _pairs(self, action: str, x: Any, y: Any, check_finite: bool, names: tuple[str, str]) -> list[tuple[Any, Any]]:
        """Return X and y of each member; members that want the same form share one conversion and one check."""
        members: Sequence[Member] = self.models
        xs: dict[Any, Any] = {}
        done: dict[Any, tuple[Any, Any]] = {}
        pairs = []
        named = not (type(x) is np.ndarray and type(y) is np.ndarray)  # arrays have no names to learn
        for model in members:
            form: Any = model._form()
            if form in done:
                if action == "fit" and named:
                    model._learn(x, y, names)
                model._checked(done[form][0], names[0])
            else:
                inputs, targets = model._convert(action, x, y, check_finite=check_finite, names=names)
                form = model._form() or id(model)  # the model may have been built now
                inputs = xs.setdefault(model._form_of_x() or id(model), inputs)
                done.setdefault(form, (inputs, targets))
            pairs.append(done[form])
        return pairs

    def _weights(self, sample_weight: Any, rows: int, check_finite: bool, name: str) -> list[Any]:
        """Return the weights of rows of each member; members that are given the same share one conversion."""
        members: Sequence[Member] = self.models
        done: dict[Any, Any] = {}
        weights = []
        for model, given in zip(members, _weights_of_each(name, sample_weight, len(members)), strict=True):
            goals_of, dtype = model._goals, model._need_engine(name).plan.dtype
            key = id(given), dtype, *(goal.name for goal in goals_of)
            if given is not None and key not in done:
                done[key] = goals.sample_weights(given, rows, goals_of, dtype, check_finite=check_finite, name=name)
            weights.append(done.get(key))
        return weights

    def _held(
        self, trained: Sequence[Rows], validation_data: Any, validation_rows: Any, check_finite: bool
    ) -> list[Rows] | None:
        """Return the rows that each member is evaluated on after an epoch; None without a validation."""
        if validation_rows is not None:
            if validation_data is not None:
                raise ValueError("validation_data and validation_rows must not be given both")
            sets = row_sets(validation_rows, len(trained), len(trained[0].samples), "validation_rows")
            return [Rows(one.samples, own, one.batch) for one, own in zip(trained, sets, strict=True)]
        if validation_data is None:
            return None
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise ValueError("validation_data must be (x, y) or (x, y, sample_weight)")
        x, y, weights = (*validation_data, None)[:3]
        samples = self._samples("fit", x, y, weights, check_finite=check_finite, of="validation_data's ")
        return [Rows(own, None, one.batch) for one, own in zip(trained, samples, strict=True)]

    def predict(self, x: Any, reduce: str | None = None, *, rows: Any = None) -> Any:
        """Return the outputs of every member, or what they say together.

        All members answer in one call into the engine. They must have the same number of outputs, unless `rows` are
        given.

        Parameters
        ----------
        x : array-like
            Rows as for :meth:`Sequential.predict`.
        reduce : {None, "mean", "std", "vote"}, default None
            What is returned of the members' outputs: all; their mean; their standard deviation; the share of members
            that choose a column, which is the column with the largest output, and for outputs of one column those
            above 0.5.
        rows : sequence of array-like or None, optional
            For each member the rows of x that it answers, as for :meth:`fit`.

        Returns
        -------
        ndarray, shape (members, rows, outputs), or (rows, outputs) with `reduce`
            With `rows` a list of arrays, one for each member. For members with heads a dict of arrays by name takes
            the place of each array.
        """
        if reduce not in (None, "mean", "std", "vote"):
            raise ValueError(f"reduce must be None, 'mean', 'std' or 'vote', got {reduce!r}")
        if reduce is not None and rows is not None:
            raise ValueError("reduce must be None where rows are given, as members may answer different rows")
        members: Sequence[Member] = self.models
        converted = self._rows_to_predict(x)
        sets = row_sets(rows, len(members), len(converted[0]), "rows", may_be_all=True)
        outputs = self._empty_outputs([len(converted[0] if own is None else own) for own in sets], rows is None)
        _members.grant([Prediction(*each) for each in zip(members, converted, sets, outputs, strict=True)])
        named = [model._outputs(out) for model, out in zip(members, outputs, strict=True)]
        if rows is not None:
            return named
        heads = {tuple(output) if isinstance(output, dict) else () for output in named}
        if len(heads) > 1:
            raise ValueError("predict needs members with the same heads")
        if heads == {()}:
            return _reduced(outputs, reduce)
        return {name: _reduced([output[name] for output in named], reduce) for name in named[0]}

    def _empty_outputs(self, lengths: Sequence[int], alike: bool) -> Any:
        """Return an array for the outputs of each member; where they are to be `alike`, perhaps all in one array."""
        plans = [model._need_engine("predict").plan for model in self.models]
        widths, dtypes = {plan.outputs for plan in plans}, {plan.dtype for plan in plans}
        if alike and len(widths) > 1:
            raise ValueError(f"predict needs members with the same number of outputs, got {sorted(widths)}")
        if alike and len(dtypes) == 1:
            return np.empty((len(plans), lengths[0], widths.pop()), dtypes.pop())
        return [np.empty((length, plan.outputs), plan.dtype) for length, plan in zip(lengths, plans, strict=True)]

    def _rows_to_predict(self, x: Any) -> list[Any]:
        """Return x as each member's engine reads it; members that want the same form share one conversion."""
        members: Sequence[Member] = self.models
        done: dict[Any, Any] = {}
        converted = []
        for model in members:
            engine = model._need_engine("predict")
            key = model._form_of_x() or id(model)
            if key not in done:
                done[key], _ = model._inputs(x, engine.plan.dtype, check_finite=False)
            converted.append(model._checked(done[key]))
        return converted

    def evaluate(
        self, x: Any, y: Any, sample_weight: Any = None, return_dict: bool = False, *, rows: Any = None
    ) -> list[Any]:
        """Return what :meth:`Sequential.evaluate` returns, for every member.

        Parameters
        ----------
        x, y, sample_weight
            Data as for :meth:`fit`.
        return_dict : bool, default False
            Whether to return dicts with the names as keys.
        rows : sequence of array-like or None, optional
            For each member the rows of x that it is evaluated on, as for :meth:`fit`.
        """
        return_dict = flag("return_dict", return_dict)
        members: Sequence[Member] = self.models
        for model in members:
            model._need_engine("evaluate")
        samples = self._samples("evaluate", x, y, sample_weight, check_finite=True)
        sets = row_sets(rows, len(members), len(samples[0]), "rows", may_be_all=True)
        hooks = CallbackList(None)
        generators = [
            _members.evaluated(model, Rows(one, own, 32), hooks)
            for model, one, own in zip(members, samples, sets, strict=True)
        ]
        logs = _members.together(generators)
        return [model._result(one, return_dict) for model, one in zip(members, logs, strict=True)]


def train_together(fittings: Sequence[Fitting]) -> list[Exception | None]:
    """Train different models at once, each on data of its own, as its ``fit`` does.

    Parameters
    ----------
    fittings : sequence of Fitting
        Plain ones.

    Returns
    -------
    list of Exception or None
        What each has failed with, which ends the training of this model alone.
    """
    errors: list[Exception | None] = [None] * len(fittings)
    _members.together([_noting(errors, k, _of_fitting(one, len(fittings))) for k, one in enumerate(fittings)])
    return errors


def _of_fitting(fitting: Fitting, members: int) -> Generator[Wish, None, None]:
    """Train one of so many members as its ``fit`` does."""
    held = fitting.validation
    training = Training(fitting.model, _rows_of(fitting.feed), cast("ArrayFeed", fitting.feed).shuffled)
    rows, due = (None, validation_due(1)) if held is None else (_rows_of(held.feed), held.due)
    watched = held is not None or any(not isinstance(one, History) for one in fitting.hooks.callbacks)
    validate = validation(fitting.model, rows, due, fitting.hooks)
    return _members.fitted(fitting.run, training, fitting.epochs, members, watched, validate)


def _rows_of(feed: loop.Feed) -> Rows:
    """Return the rows of a plain feed."""
    in_memory = cast("ArrayFeed", feed)
    return Rows(in_memory.samples, None, in_memory.batch, in_memory.drop_remainder, in_memory.mixup)


def _noting(
    errors: list[Exception | None], place: int, generator: Generator[Wish, None, None]
) -> Generator[Wish, None, None]:
    """Run a generator; note what it fails with."""
    try:
        yield from generator
    except Exception as error:  # noqa: BLE001  # whoever has asked for the training says what becomes of it
        errors[place] = error


class _Alike:
    """Makes objects that are not changed, one for all calls with the same arguments: members mostly share their rows.

    Parameters
    ----------
    kind : type
    """

    def __init__(self, kind: Callable[..., Any]) -> None:
        self._kind, self._made = kind, dict[tuple[int, ...], Any]()

    def __call__(self, *arguments: Any) -> Any:
        key = tuple(map(id, arguments))  # what is made keeps the arguments alive
        if key not in self._made:
            self._made[key] = self._kind(*arguments)
        return self._made[key]


def _check_trainable(members: Sequence[Member]) -> None:
    """Raise where members cannot be trained together."""
    seen: dict[int, int] = {}
    for k, model in enumerate(members):
        if name := goals.called(model._goals):
            raise ValueError(
                f"Ensemble trains in one engine call an epoch, which cannot call the Python function {name!r}: "
                f"train a model with one by its own fit"
            )
        if isinstance(model.optimizer, LBFGS):
            raise ValueError(
                "Ensemble trains batch by batch, and LBFGS looks at all rows in every step: train a model with it by "
                "its own fit"
            )
        first = seen.setdefault(id(model.optimizer), k)
        if model.optimizer is not None and first < k:
            raise ValueError(
                f"models {first} and {k} have one {type(model.optimizer).__name__} object, which can keep the state of "
                f"one model: compile each with an optimizer of its own"
            )


@contextmanager
def _as_they_were_on_error(members: Sequence[Member], x: Any, y: Any) -> Iterator[None]:
    """Leave unbuilt members unbuilt where the block fails."""
    with ExitStack() as kept:
        for model in sorted(members, key=lambda model: id(model._home.lock)):  # in the order of Locks
            with model._home.lock:
                stays = model._home.built and type(x) is type(y) is np.ndarray
            if not stays:  # it may be built within, or learn the names of columns
                kept.enter_context(model._as_it_was_on_error(x, y))
        yield


def _one_of_each(name: str, given: Any, members: int, listed: bool) -> list[Any]:
    """Return an argument for each member: from the sequence that is given, or the same for all."""
    if listed and len(given) != members:
        raise ValueError(f"{name} must be one for all or one for each of the {members} members, got {len(given)}")
    return list(given) if listed else [given] * members


def _weights_of_each(name: str, given: Any, members: int) -> list[Any]:
    """Return the weights of rows as each member is given them."""
    listed = isinstance(given, (list, tuple)) and len(given) > 0 and not np.isscalar(given[0])
    table = isinstance(given, np.ndarray) and given.ndim == 2 and given.shape[1] != 1
    return _one_of_each(name, given, members, listed or table)


def _class_weighted(members: Sequence[Member], trained: Sequence[Rows], class_weight: Any) -> list[Rows]:
    """Return the rows of each member with the weights of their classes."""
    if class_weight is None:
        return list(trained)
    given = _one_of_each("class_weight", class_weight, len(members), isinstance(class_weight, (list, tuple)))
    weighted = []
    for model, rows, weight in zip(members, trained, given, strict=True):
        samples, order = rows.samples, rows.order
        if weight is not None:
            own = samples.y if order is None or isinstance(samples.y, tuple) else samples.y[order]
            found = model._weighted(Samples(samples.x, own, samples.weights), weight, all_rows=True).weights
            if order is not None and found is not None:
                of_own, found = found, np.ones(len(samples), found.dtype)
                found[order] = of_own
            samples = Samples(samples.x, samples.y, found)
        weighted.append(Rows(samples, order, rows.batch, rows.drop_remainder, rows.mixup))
    return weighted


def _reduced(outputs: Any, reduce: str | None) -> Array:
    """Return what is asked for of the outputs of all members: of each (rows, columns)."""
    stacked = outputs if isinstance(outputs, np.ndarray) else np.stack(outputs)
    if reduce is None:
        return stacked
    values = _votes(stacked) if reduce == "vote" else stacked
    combine = values.std if reduce == "std" else values.mean
    return np.asarray(combine(axis=0, dtype=np.float64), stacked.dtype)


def _votes(outputs: Array) -> Array:
    """Return whether a member chooses a column."""
    columns = outputs.shape[2]
    return outputs > 0.5 if columns == 1 else outputs.argmax(axis=2)[..., None] == np.arange(columns)
