"""The callbacks of the members of an ensemble."""

from __future__ import annotations

import copy
from typing import Any

from fastnn.callbacks.backup import BackupAndRestore
from fastnn.callbacks.base import TEST_BATCH_HOOKS, TRAIN_BATCH_HOOKS, Callback, CallbackList


def callbacks_of_members(callbacks: Any, members: int) -> list[CallbackList]:
    """Return the callbacks of each member: its own list, or copies of callbacks that are meant for all.

    Parameters
    ----------
    callbacks : Callback or sequence of Callback, or sequence of sequences of Callback, or None
        With a sequence among them, one sequence for each member.
    members : int

    Raises
    ------
    TypeError, ValueError
        When they cannot be used; the message is one sentence.
    """
    if isinstance(callbacks, (list, tuple)) and any(isinstance(one, (list, tuple)) for one in callbacks):
        if len(callbacks) != members or not all(isinstance(one, (list, tuple)) for one in callbacks):
            raise ValueError(
                f"callbacks must be callbacks, of which every member gets a copy, or one list of callbacks for each of "
                f"the {members} members"
            )
        lists = [CallbackList(one) for one in callbacks]
        given = [callback for one in lists for callback in one.callbacks]
        if len({id(callback) for callback in given}) < len(given):
            raise ValueError("callbacks must be different objects for different members: one of them is there twice")
        _check(given)
        return lists
    shared = CallbackList(callbacks).callbacks
    _check(shared)
    for callback in shared:
        if callback._writes and members > 1:
            raise ValueError(
                f"{type(callback).__name__} would write what all members do to one place: give one list of callbacks "
                f"for each member"
            )
    return [CallbackList([_copied(callback) for callback in shared]) for _ in range(members)]


def _check(callbacks: list[Callback]) -> None:
    for callback in callbacks:
        name = type(callback).__name__
        if CallbackList(callback).wants(*TRAIN_BATCH_HOOKS, *TEST_BATCH_HOOKS):
            raise ValueError(
                f"{name} has a hook for batches, and an ensemble trains whole epochs in one call into the engine: "
                f"train a model with it by its own fit"
            )
        if isinstance(callback, BackupAndRestore):
            raise ValueError(f"{name} cannot let an ensemble go on: train a model with it by its own fit")


def _copied(callback: Callback) -> Callback:
    """Return a copy with a state of its own; a model that it has seen before is not copied."""
    seen = vars(callback).get("model")
    try:
        return copy.deepcopy(callback, {id(seen): seen})
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{type(callback).__name__} cannot be copied for each member ({error}): give one list of callbacks for "
            f"each member"
        ) from error
