"""From words and fields to models: ``search``."""

from __future__ import annotations

from .found import Found
from .index import FIELDS
from .query import SORTS, search

__all__ = ["FIELDS", "SORTS", "Found", "search"]
