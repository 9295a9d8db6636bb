"""What the estimators for tables share: from a raw table to trained members, and from these to answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_X_y
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    check_random_state,
    column_or_1d,
    validate_data,
)

from fastnn._registry import nearest_names
from fastnn._seeds import seeds_from
from fastnn._warnings import warn
from fastnn.data import frames
from fastnn.ensemble import Ensemble
from fastnn.models import Sequential
from fastnn.saving import from_bytes, to_bytes
from fastnn.sklearn._estimator import NetworkEstimator
from fastnn.sklearn._targets import Targets, targets_of_state
from fastnn.tabular import _files, _presets, _training
from fastnn.tabular._columns import distinct_objects, raw
from fastnn.tabular._frozen import FrozenTable
from fastnn.tabular._preparation import Preparation, Table
from fastnn.tabular._training import Split

Array = npt.NDArray[Any]
MOST_SHUFFLED = 1000  # validation rows that importances are computed of
MOST_COPIED = 2**25  # numbers in all copies of these rows: 128 MiB


class TabularEstimator(NetworkEstimator):
    """The base of TabularClassifier and TabularRegressor.

    A fitted estimator has what makes a network's input of a raw table, and the networks.
    """

    preset: str
    n_ensemble: int
    bagging: str
    validation: float
    eval_metric: str | None
    refit: bool
    time_limit: float | None
    tune: int
    verbose: int

    match_columns = True  # a later frame's columns are matched by name
    shuffle = True
    loss = None  # that of the preset: outputs are logits of classes, or numbers
    _metrics: tuple[str, ...]  # of which the first is the default

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012  # scikit-learn reads it from the class
        "preset": [StrOptions(set(_presets.PRESETS))],
        "n_ensemble": [Interval(Integral, 1, None, closed="left")],
        "bagging": [StrOptions({"folds", "seeds"})],
        "validation": [Interval(Real, 0, 1, closed="neither")],
        "eval_metric": [str, None],
        "refit": ["boolean"],
        "tune": [Interval(Integral, 0, None, closed="left")],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
        "num_threads": [Interval(Integral, 1, 256, closed="both"), None],
        "verbose": ["verbose"],
    }

    # ---- what an estimator says ----

    def _encoded(self, y: Array) -> Array:
        """Return the networks' targets."""
        raise NotImplementedError

    def _labels(self, y: Array) -> Array | None:
        """Return what each row's class is; None for numbers."""
        raise NotImplementedError

    def _learn_of_validation(self, outputs: Array, y: Array, weights: Array | None) -> None:
        """Learn from what members say of rows that they have not seen."""
        raise NotImplementedError

    @property
    def _is_of_classes(self) -> bool:
        raise NotImplementedError

    # ---- fit ----

    def _fit_table(self, X: Any, y: Any, sample_weight: Any, validation: Any) -> Any:
        """Fit a twin, whose attributes are taken over in one step; `validation` is what to validate on, or None."""
        twin = self._twin()
        with self._threads():
            twin._learn(X, y, sample_weight, validation)
        self.__dict__ = twin.__dict__
        return self

    def _learn(self, X: Any, y: Any, sample_weight: Any, validation: Any) -> None:
        begun = _training.clock()
        self._validate_params()
        preset, metric = _presets.PRESETS[self.preset], self._metric()
        if getattr(self, "_skl_callbacks", None):
            raise ValueError(f"{type(self).__name__} tells no callbacks of scikit-learn: set none with set_callbacks")
        table, y = self._read_table(X, y, reset=True)
        self._targets: Targets = self._targets_of(y, None)
        self.__dict__.pop("candidates_", None)  # of an earlier call
        weights, _ = self._weights(sample_weight, y, y)
        self._scale_targets(y)
        self.preparation_ = Preparation.learned(table, preset.scaling, preset.limit, preset.one_hot_limit)
        _warn_of_answers(table, y, classes=self._is_of_classes)
        samples = self.preparation_(table), self._encoded(y), weights
        held = None if validation is None else self._given_validation(*validation)
        random = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        splits = self._splits(y, random, given=held is not None)
        preset = preset.for_rows(len(splits[0].rows))
        deadline = None if self.time_limit is None else begun + float(self.time_limit)
        encoded = None if held is None else (held[0], self._encoded(held[1]), *held[2:])
        work = _training.Work(samples, encoded, metric, random, deadline)
        seen = None
        if self.tune:
            preset, seen = self._tuned(preset, splits[0], work)
        if seen is None or self.n_ensemble > 1:
            presets = self._in_time([preset] * len(splits), splits, work)
            preset, seen = presets[0], self._train_members(presets, splits, work)
        for each in seen:
            each.restore()
        self._fill_unseen(samples[0], [split.rows for split in splits])
        self._settle(samples, splits, held, y, seen)
        if self.refit:
            self._train_again(preset, work, [each.epoch for each in seen])

    def _metric(self) -> str:
        """Return the metric that tells the best epoch."""
        if self.eval_metric is None:
            return self._metrics[0]
        if self.eval_metric not in self._metrics:
            near = nearest_names(self.eval_metric, list(self._metrics))
            raise ValueError(f"eval_metric {self.eval_metric!r} is unknown; {near}")
        return self.eval_metric

    def _scale_targets(self, y: Array) -> None:
        """Learn what makes y of the networks' outputs."""
        raise NotImplementedError

    def _given_validation(self, X: Any, y: Any, weights: Any) -> tuple[Array, ...]:
        """Return what the user gives to validate on: as the networks read it, y, and the weights if there are any."""
        table, y = self._read_table(X, y, reset=False)
        self._targets.check(y)
        held = self.preparation_(table), y
        return held if weights is None else (*held, _check_sample_weight(weights, y))

    def _splits(self, y: Array, random: np.random.Generator, *, given: bool) -> list[Split]:
        """Return the rows of each member."""
        count, labels = self.n_ensemble, self._labels(y)
        if given:
            return [Split(np.arange(len(y)), None)] * count
        if self.bagging == "seeds" or count == 1:
            return [_training.one_split(labels, len(y), self.validation, random)] * count
        if count > len(y):
            raise ValueError(f"n_ensemble={count} folds need as many rows, got {len(y)}")
        return _training.folds(labels, len(y), count, random)

    def _members(
        self, presets: Sequence[_presets.Preset], splits: Sequence[Split], work: _training.Work
    ) -> list[Sequential]:
        """Return the networks, compiled."""
        models = []
        for preset, split in zip(presets, splits, strict=True):
            steps = preset.steps(len(split.rows)) * preset.epochs_of(classes=self._is_of_classes)
            with seeds_from(int(work.random.integers(2**31))):
                model = _presets.network(
                    preset,
                    self.preparation_.widths,
                    self.preparation_.entries,
                    work.samples[1].shape[1],
                    steps,
                    classes=self._is_of_classes,
                )
                model.build((None, work.samples[0].shape[1]))
                if preset.fits_data:
                    model.initialize(work.samples[0][split.rows])
            _presets.compile_for(model, preset, steps, work.metric, classes=self._is_of_classes)
            models.append(model)
        return models

    def _train_members(
        self, presets: Sequence[_presets.Preset], splits: Sequence[Split], work: _training.Work, *, race: bool = False
    ) -> list[_training.BestEpoch]:
        """Make the members and train them, perhaps as a race; return what each has seen."""
        self.models_ = self._members(presets, splits, work)
        preset, metric, more = presets[0], work.metric, _presets.METRICS[work.metric][1]
        epochs = preset.epochs_of(classes=self._is_of_classes)
        seen = [_training.BestEpoch(more, preset.patience, work.deadline) for _ in splits]
        hooks: list[list[Any]] = [[each] for each in seen]
        if race:
            shared = _training.Race(seen, epochs)
            hooks = [[*each, _training.Racer(shared, place)] for place, each in enumerate(hooks)]
        bar = _training.Bar(type(self).__name__, epochs) if self.verbose else None
        if bar is not None:
            hooks[0].append(bar)
        _training.train(self.models_, work.samples, splits, work.held, **preset.settings(epochs), callbacks=hooks)
        if bar is not None:
            first = seen[0]
            best = f"the best {first.epoch}, {metric} {self._said(first.score, metric):.4g}"
            bar.close(f"{type(self).__name__}: {first.epochs} epochs, {best}")
        return seen

    def _in_time(
        self, presets: list[_presets.Preset], splits: Sequence[Split], work: _training.Work, *, race: bool = False
    ) -> list[_presets.Preset]:
        """Return presets of so many epochs that the schedules of a training end before the deadline.

        Members that are not kept are trained for a moment. What is still to be trained after this training gets as much
        time as it.
        """
        if work.deadline is None:
            return presets
        planned = presets[0].epochs_of(classes=self._is_of_classes)
        models = self._members(presets, splits, work._replace(random=deepcopy(work.random)))
        watches = [_training.Watch() for _ in splits]
        settings, hooks = presets[0].settings(_training.TRIAL), [[each] for each in watches]
        _training.train(models, work.samples, splits, work.held, **settings, callbacks=hooks)
        later = (race and self.n_ensemble > 1) + self.refit
        share = 1 / (1 + later) / (_training.Race.WORK if race else 1)
        epochs = min(planned, watches[0].epochs_until(work.deadline, share))
        return [replace(preset, epochs=(epochs, epochs)) for preset in presets]

    def _tuned(
        self, preset: _presets.Preset, split: Split, work: _training.Work
    ) -> tuple[_presets.Preset, list[_training.BestEpoch]]:
        """Search for a better preset; return the best, whose network becomes the only one, and what that has seen."""
        if not preset.tangent:
            raise ValueError(f"tune searches among networks like RealMLP, which preset={self.preset!r} is not")
        classes = self._is_of_classes
        (drawn,) = work.random.spawn(1)  # so that the first member is what the preset alone would be
        presets = [preset, *(_presets.sampled(preset, drawn, classes=classes) for _ in range(self.tune))]
        splits = [split] * len(presets)
        presets = self._in_time(presets, splits, work, race=True)
        seen = self._train_members(presets, splits, work, race=True)
        best = min(range(len(seen)), key=lambda place: seen[place].loss)
        found: dict[str, list[Any]] = {
            work.metric: [self._said(each.score, work.metric) for each in seen],
            "epochs": [each.epochs for each in seen],
        }
        tried = {name: [getattr(each, name) for each in presets] for name in _presets.SEARCHED}
        self.candidates_: dict[str, list[Any]] = {**found, **tried}
        self.models_ = [self.models_[best]]
        return presets[best], [seen[best]]

    @staticmethod
    def _said(score: float | None, metric: str) -> float:
        """Return the metric's value of what training has watched: the error is what accuracy leaves."""
        value = float("nan") if score is None else score
        return 1 - value if metric == "error" else value

    def _settle(
        self, samples: tuple[Any, ...], splits: Sequence[Split], held: Any, y: Array, seen: Sequence[Any]
    ) -> None:
        """Keep what validation says, once the members have the weights of their best epochs."""
        metric = self._metric()
        self.leaderboard_: dict[str, list[Any]] = {
            "member": list(range(len(seen))),
            metric: [self._said(each.score, metric) for each in seen],
            "best_epoch": [each.epoch for each in seen],
            "epochs": [each.epochs for each in seen],
            "rows": [len(split.rows) for split in splits],
        }
        self.history_ = [dict(model.history.history) if model.history else {} for model in self.models_]
        outputs, wanted, weights = self._validated(samples, splits, held, y)
        self._learn_of_validation(outputs, wanted, weights)

    def _validated(
        self, samples: tuple[Any, ...], splits: Sequence[Split], held: Any, y: Array
    ) -> tuple[Array, Array, Array | None]:
        """Return what members say of rows that they have not seen, with y and weights of these rows."""
        x, weights = samples[0], samples[2]
        if held is not None:
            self._kept = held[0][:MOST_SHUFFLED], self._encoded(held[1][:MOST_SHUFFLED])
            return self._together(self._members_say(held[0])), held[1], held[2] if len(held) > 2 else None
        if all(split is splits[0] for split in splits):
            chosen = np.asarray(splits[0].held)
            outputs = self._together(self._members_say(x[chosen]))
        else:  # each row by the one member that has not seen it
            chosen = np.concatenate([np.asarray(split.held) for split in splits])
            each = Ensemble(self.models_).predict(x, rows=[split.held for split in splits])
            outputs = np.concatenate([self._together(one[None]) for one in each])
        few = chosen[:: max(1, len(chosen) // MOST_SHUFFLED)][:MOST_SHUFFLED]
        self._kept = x[few], samples[1][few]
        return outputs, y[chosen], None if weights is None else weights[chosen]

    def _train_again(self, preset: _presets.Preset, work: _training.Work, best: Sequence[int]) -> None:
        """Train new members on all rows, for as many epochs as were best."""
        whole = [Split(np.arange(len(work.samples[0])), None)] * len(best)
        self.models_ = self._members([preset] * len(best), whole, work)
        for model, epochs in zip(self.models_, best, strict=True):
            _training.train([model], work.samples, whole[:1], None, **preset.settings(epochs), callbacks=[[]])
        self._fill_unseen(work.samples[0], [split.rows for split in whole])

    def _fill_unseen(self, x: Array, rows: Sequence[Array]) -> None:
        """Give embeddings that no row of a member's training has the mean of those of their column."""
        sizes = self.preparation_.sizes
        for model, chosen in zip(self.models_, rows, strict=True) if sizes else ():
            _presets.fill_unseen(model, x[chosen, -len(sizes) :], sizes)

    # ---- X and y ----

    def _read_table(self, X: Any, y: Any, *, reset: bool) -> tuple[Table, Array]:
        """Return the raw columns of X, and y, checked as scikit-learn checks it."""
        numeric = not self._is_of_classes
        if frames.is_frame(X) and y is not None:
            table = self._table_of(X, reset=reset)
            _, y = check_X_y(np.zeros((table.rows, 1)), y, multi_output=True, y_numeric=numeric, estimator=self)
        else:
            array, y = validate_data(
                self,
                _as_given(X),
                y,
                reset=reset,
                dtype=None,
                ensure_all_finite=False,
                multi_output=True,
                y_numeric=numeric,
            )
            table = Table.of(array)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        if reset and table.rows < 2:
            raise ValueError(f"fit needs at least two rows, got 1 sample: {type(self).__name__} validates on some")
        return table, y

    def _table_of(self, X: Any, *, reset: bool) -> Table:
        """Return the raw columns of X."""
        frames.check_collected(X, "X")
        if not frames.is_frame(X):
            return Table.of(validate_data(self, _as_given(X), reset=reset, dtype=None, ensure_all_finite=False))
        if not len(X):
            raise ValueError("X has no rows: Found array with 0 sample(s) while a minimum of 1 is required")
        if not frames.column_names(X):
            raise ValueError("X has no columns: Found array with 0 feature(s) while a minimum of 1 is required")
        frames.text_names(X, "X")  # raises where two columns have one name
        return Table.of(self._in_order_of_fit(X, reset=reset))

    # ---- answers ----

    def _together(self, outputs: Array) -> Array:
        """Return what members say together, of their outputs (members, rows, outputs).

        For classes these are logarithms of probabilities, over the temperature, but for a number a row.
        """
        raise NotImplementedError

    @property
    def _link(self) -> Any:
        return "softmax" if self._is_of_classes else ""

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        x = self.preparation_(self._table_of(X, reset=False))
        with self._threads():
            return self._together(self._members_say(x))

    def _members_say(self, x: Array) -> Array:
        """Return the outputs of the members, (members, rows, outputs)."""
        if len(self.models_) == 1:
            return self.models_[0].predict(x, verbose=0)[None]
        return Ensemble(self.models_).predict(x)

    # ---- what else is known of a fit ----

    def _error(self, outputs: Array, targets: Array, metric: str) -> float:
        """Return the value of a metric of which less is better."""
        raise NotImplementedError

    @property
    def feature_importances_(self) -> Array:
        """How much worse the metric becomes where a column of X is shuffled, of rows that were held back.

        An array of shape (columns,), in the order of ``feature_names_in_``. All columns are shuffled at once, each in a
        copy of the rows of its own (Breiman, Random forests, 2001); 0 stands for a column that is left out.
        """
        check_is_fitted(self)
        x, targets = self._kept
        sources = np.array(self.preparation_.sources(), int)
        used = np.unique(sources)
        rows = max(2, min(len(x), MOST_COPIED // max(1, len(used) * x.shape[1])))
        x, targets = x[:rows], targets[:rows]
        order = np.random.default_rng(0).permutation(len(x))
        copies = np.repeat(x[None], len(used) + 1, axis=0)  # the last one stays as it is
        for copy, source in zip(copies, used, strict=False):
            shuffled = np.flatnonzero(sources == source)
            copy[:, shuffled] = x[np.ix_(order, shuffled)]
        outputs = self._together(self._members_say(copies.reshape(-1, x.shape[1])))
        errors = [self._error(each, targets, self._metric()) for each in np.split(outputs, len(copies))]
        found = np.zeros(self.n_features_in_)
        found[used] = np.array(errors[:-1]) - errors[-1]
        return found

    def plot(self, ax: Any = None) -> Any:
        """Draw the networks' scores on the rows that were held back, epoch by epoch; this needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: new axes.

        Returns
        -------
        matplotlib.axes.Axes
        """
        check_is_fitted(self)
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots()[1]
        metric = self._metric()
        for member, (logs, best) in enumerate(zip(self.history_, self.leaderboard_["best_epoch"], strict=True)):
            values = [self._said(score, metric) for score in logs.get("val_score", [])]
            (line,) = ax.plot(range(1, len(values) + 1), values, label=f"member {member}")
            ax.plot(best, values[best - 1], "o", color=line.get_color())
        ax.set(xlabel="epoch", ylabel=f"{metric} of rows that were held back")
        ax.legend()
        return ax

    # ---- files and frozen copies ----

    def _as_learned(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return what fit has learned beside the networks, as JSON and arrays."""
        names = getattr(self, "feature_names_in_", None)
        learned = {
            "preparation": self.preparation_.get_config(),
            "columns": self.n_features_in_,
            "names": None if names is None else list(map(str, names)),
            "leaderboard": self.leaderboard_,
            "history": self.history_,
            "candidates": getattr(self, "candidates_", None),
        }
        return learned, {"kept_x": self._kept[0], "kept_y": self._kept[1]}

    def _take_learned(self, learned: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Take what :meth:`_as_learned` returned."""
        self.preparation_ = Preparation.from_config(learned["preparation"])
        self.n_features_in_ = int(learned["columns"])
        if learned["names"] is not None:
            self.feature_names_in_ = np.array(learned["names"], object)
        self.leaderboard_, self.history_ = learned["leaderboard"], learned["history"]
        if learned["candidates"] is not None:
            self.candidates_ = learned["candidates"]
        self._kept = arrays["kept_x"], arrays["kept_y"]

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to one file, with all that makes a network's input of raw rows.

        Parameters
        ----------
        filepath : path-like
            Such as ``"table.fastnn"``.
        """
        check_is_fitted(self)
        _files.save(self, filepath)

    @classmethod
    def load(cls, filepath: str | os.PathLike[str]) -> Any:
        """Return the estimator of a file that :meth:`save` has written; nothing in a file is executed.

        Parameters
        ----------
        filepath : path-like

        Raises
        ------
        ModelFileError
            When the file is damaged, or holds something else.
        """
        return _files.load(cls, filepath)

    def freeze(self) -> FrozenTable:
        """Return a frozen copy for the fastest answers to raw rows; this estimator may be fitted again."""
        check_is_fitted(self)
        return FrozenTable(self)

    # ---- state ----

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "models_")

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes as plain values, arrays and bytes, so that whoever reads them runs nothing."""
        state = dict(super().__getstate__())
        if "models_" in state:
            state |= {
                "models_": [to_bytes(model) for model in state["models_"]],
                "preparation_": self.preparation_.get_config(),
                "_targets": self._targets.state(),
            }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "models_" in state:
            state |= {
                "models_": [from_bytes(each, Sequential) for each in state["models_"]],
                "preparation_": Preparation.from_config(state["preparation_"]),
                "_targets": targets_of_state(state["_targets"]),
            }
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.allow_nan = True
        return tags


def _as_given(X: Any) -> Any:
    """Return lists in which text stands beside numbers as an array of objects: NumPy would make text of numbers."""
    lists = isinstance(X, (list, tuple)) and all(isinstance(row, (list, tuple)) for row in X)
    return np.asarray(X, object) if lists and any(isinstance(value, str) for row in X for value in row) else X


def _warn_of_answers(table: Table, y: Array, *, classes: bool) -> None:
    """Warn of a column that is y, or that tells each class by a value of its own."""
    if y.ndim > 1:
        return
    places = np.unique(y, return_inverse=True)[1] if classes else y
    count = int(places.max()) + 1 if classes else 0
    for called, values in table.columns:
        if not classes:
            array = raw(values, called)
            same = array.dtype.kind in frames.REAL and np.array_equal(array, y)
        elif len(distinct_objects(values[:MOST_SHUFFLED], called)) > count:  # as most columns have
            continue
        else:
            known = {value: code for code, value in enumerate(distinct_objects(values, called))}
            keys = np.array([known[value] for value in raw(values, called).tolist() if value in known])
            same = len(keys) == len(y) and len(known) == count == len(np.unique(keys * count + places))
        if same:
            warn(f"{called} tells y: each of its values stands for one of y")
