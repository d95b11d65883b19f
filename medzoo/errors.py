"""The errors of medzoo. Catch one class, or ``MedzooError`` for all of them.

* MedzooError                    exit code of the command line
    x InputError                 2   an argument: unknown, of a wrong type or out of range
    x ModelNotFoundError         3   no model, version or package has that name
    x ConfigError                4   a model config that breaks the schema
    x SourceError                5   a package that cannot be fetched from its source
    x IntegrityError             6   files that differ from their registered digest
    x PackageError               7   a package that breaks its contract, or fails while it runs
    x OutOfMemoryError           8   not even a batch of one sample fits
    x DatasetError               9   a folder of samples that cannot be written or read
    x NotAvailableError          10  a feature that this version reserves but does not have
    x ContributionError          11  a contribution that is not ready
    x TrustError                 12  code or weights that run only with ``trust=True``
    x BuildError                 13  a model's environment that cannot be built
    x WorkerError                14  a model's process that crashed, was killed or did not answer
    x CacheError                 15  something in the cache that cannot be removed
    x GateError                  16  samples whose figures do not meet the bounds that were set

Each error has a ``problem`` (what was asked and what was found) and a ``hint`` (what to try).
``InputError`` is also a ``ValueError``.
``MedzooWarning`` is a warning about a result that is valid.
"""

from __future__ import annotations

import re

IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+@")


def without_passwords(text: str) -> str:
    """A text in which no address has a user or a password: ``https://***@example.org``."""
    return IN_ADDRESS.sub("***@", text)


class MedzooError(Exception):
    """Base class of all errors that medzoo raises on purpose.

    Parameters
    ----------
    problem : str
        What was asked, and what was wrong with it.
    hint : str, optional
        What to try next; may be empty.

    Attributes
    ----------
    problem, hint : str
        The same texts.
    exit_code : int
        The exit code of the command line for this error.

    Examples
    --------
    >>> try:
    ...     medzoo.info("DCGAN_MMG_MASS")
    ... except medzoo.MedzooError as error:
    ...     print(error.problem)
    ...     print(error.hint)
    There is no model 'DCGAN_MMG_MASS'.
    Did you mean 00005_DCGAN_MMG_MASS_ROI or ...
    """

    exit_code = 1

    def __init__(self, problem: str, hint: str = "") -> None:
        problem, hint = without_passwords(problem), without_passwords(hint)
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\n{self.hint}" if self.hint else self.problem


class InputError(MedzooError, ValueError):
    """An argument that is unknown, of the wrong type, or out of range."""

    exit_code = 2


class ModelNotFoundError(MedzooError, LookupError):
    """No model, version or package has the given name."""

    exit_code = 3


class ConfigError(MedzooError):
    """A model config that breaks the schema; names the file, the key and what was expected."""

    exit_code = 4


class SourceError(MedzooError):
    """A package that cannot be fetched from the source that its config names."""

    exit_code = 5


class IntegrityError(MedzooError):
    """Files that differ from the digest or the size in the registry."""

    exit_code = 6


class PackageError(MedzooError):
    """A model package that breaks its contract, or whose code fails."""

    exit_code = 7


class OutOfMemoryError(MedzooError):
    """Not even a batch of one sample fits into memory."""

    exit_code = 8


class DatasetError(MedzooError):
    """A folder of samples that cannot be written, or cannot be read back."""

    exit_code = 9


class NotAvailableError(MedzooError):
    """A feature whose name is reserved but which this version does not have."""

    exit_code = 10


class ContributionError(MedzooError):
    """A contribution that is not ready to be packed or submitted."""

    exit_code = 11


class TrustError(MedzooError):
    """Code or weights that run only with ``trust=True``.

    For example code that is not in the registry, or weights that need pickle.
    """

    exit_code = 12


class BuildError(MedzooError):
    """A model's environment could not be built."""

    exit_code = 13


class WorkerError(MedzooError):
    """A model's process that crashed, was killed, or did not answer in time."""

    exit_code = 14


class CacheError(MedzooError):
    """Something in the cache cannot be removed.

    A running process uses it, or the disk does not allow it.
    """

    exit_code = 15


class GateError(MedzooError):
    """Figures of an evaluation do not meet the bounds that were set."""

    exit_code = 16


class MedzooWarning(UserWarning):
    """A warning about a result that is valid. The command line prints it to stderr."""
