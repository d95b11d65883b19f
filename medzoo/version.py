"""The version of medzoo, stated here alone."""

__version__ = "0.1.0"
