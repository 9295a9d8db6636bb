"""Callbacks: objects whose methods are called between epochs and batches."""

from fastnn._public import publish
from fastnn.callbacks.backup import BackupAndRestore
from fastnn.callbacks.base import (
    Callback,
    CallbackList,
    History,
    LambdaCallback,
    SwapEMAWeights,
    TerminateOnNaN,
)
from fastnn.callbacks.checkpoint import ModelCheckpoint
from fastnn.callbacks.loggers import CSVLogger, MLflowLogger, TensorBoard
from fastnn.callbacks.monitor import EarlyStopping, LearningRateScheduler, ReduceLROnPlateau

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "MLflowLogger",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]

publish(__name__, __all__)
