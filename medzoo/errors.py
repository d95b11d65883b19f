"""What can go wrong, as one tree. Catch a branch, or ``MedzooError`` for all of it.

* MedzooError                    exit code of the command line
    x InputError                 2   an argument: unknown, of the wrong type, or out of range (also a ValueError)
    x ModelNotFoundError         3   no model, version or package has that name
    x ConfigError                4   a model config that breaks the schema
    x SourceError                5   a package that cannot be fetched from where it lies
    x IntegrityError             6   files that differ from their registered digest
    x PackageError               7   a package that breaks its contract, or fails while it runs
    x OutOfMemoryError           8   not even a batch of one sample fits
    x DatasetError               9   a folder of samples that cannot be written or read
    x NotAvailableError          10  a feature that this version reserves but does not have
    x ContributionError          11  a contribution that is not ready
    x TrustError                 12  what runs only when the user says ``trust=True``
    x BuildError                 13  a model's environment that cannot be built
    x WorkerError                14  a model's process that crashed, was killed, or did not answer in time
    x CacheError                 15  something in the cache that cannot be removed

Each carries a ``problem`` (what was asked and what was found) and a ``hint`` (what to try).
``MedzooWarning`` is what a user should know of a result that stands.
"""

from __future__ import annotations


class MedzooError(Exception):
    """Base of every error that medzoo raises on purpose.

    Parameters
    ----------
    problem
        What was asked, and what was wrong with it.
    hint
        What to try next; may be empty.
    """

    exit_code = 1

    def __init__(self, problem: str, hint: str = "") -> None:
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
    """A package that cannot be fetched from where its config says it lies."""

    exit_code = 5


class IntegrityError(MedzooError):
    """Files that differ from the digest or the size that the registry holds."""

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
    """Something that runs only when the user says ``trust=True``: code that no registry names,
    weights that need pickle.
    """

    exit_code = 12


class BuildError(MedzooError):
    """A model's environment could not be built."""

    exit_code = 13


class WorkerError(MedzooError):
    """A model's process that crashed, was killed, or did not answer in time."""

    exit_code = 14


class CacheError(MedzooError):
    """Something in the cache that cannot be removed: a running process uses it, or the disk does
    not allow it.
    """

    exit_code = 15


class MedzooWarning(UserWarning):
    """What a user should know of a result that stands; the command line prints it to stderr."""
