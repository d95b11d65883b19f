"""Samples: named columns of arrays with their provenance, in memory or on disk.

`convert` makes objects of other libraries from them, and `pictures` draws them.
"""

from __future__ import annotations

from .samples import Samples as Samples
from .samples import concatenate as concatenate
from .samples import gathered as gathered
from .samples import read as read
