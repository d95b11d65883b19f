"""The user's own images and volumes as inputs of a model."""

from __future__ import annotations

from .inputs import Inputs as Inputs
from .inputs import warn_of_repeats as warn_of_repeats
