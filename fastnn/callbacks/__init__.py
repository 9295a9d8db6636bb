"""What happens between epochs and batches."""

from fastnn.callbacks.base import Callback, CallbackList, History, LambdaCallback, Logs

__all__ = ["Callback", "CallbackList", "History", "LambdaCallback", "Logs"]
