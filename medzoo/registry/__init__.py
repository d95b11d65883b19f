"""Which models there are: configs by id, the index over all of them, and search."""

from __future__ import annotations

from .listing import list_models as list_models
from .lookup import PACKAGE_CONFIG as PACKAGE_CONFIG
from .lookup import Registry as Registry
from .lookup import cite as cite
from .lookup import fetched as fetched
from .lookup import info as info
from .lookup import introduce as introduce
from .lookup import is_here as is_here
from .lookup import is_local as is_local
from .lookup import pointer as pointer
from .lookup import registry as registry
from .lookup import resolve as resolve
