"""What :mod:`fastnn.datasets` has, under its path in Keras."""

from fastnn import datasets as _datasets
from fastnn._public import publish as _publish
from fastnn.datasets import *

_publish(__name__, _datasets.__all__)
