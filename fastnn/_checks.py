"""The name under which layers/preprocessing.py knows :func:`fastnn._settings.number`."""

from fastnn._settings import number as check_number

__all__ = ["check_number"]
