"""What :mod:`fastnn.models` has, under its path in Keras."""

from fastnn import models as _models
from fastnn._public import publish as _publish
from fastnn.models import *

_publish(__name__, _models.__all__)
