"""An archive from a network: out of the cache where it lies there, else from a mirror or its
source; all must match one digest.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .. import files, settings
from ..config import ModelConfig, Version
from ..errors import IntegrityError, MedzooError, MedzooWarning, SourceError, TrustError
from ..plugins import plugin
from . import digests, file, http

if TYPE_CHECKING:
    from logging import Logger


@dataclass(frozen=True)
class Archive:
    """A file on this machine whose digest is what it should be."""

    path: Path
    sha256: str


def fetch(
    config: ModelConfig, version: Version, *, trust: bool = False, progress: bool | None = None
) -> Archive:
    """The archive of a version whose source is on a network.

    The cache is looked at before anything else. Of several processes that want one archive, one
    downloads it.

    Raises
    ------
    TrustError
        Neither config nor source has a digest of it, and ``trust`` is not given.
    SourceError
        It is nowhere to be had.
    IntegrityError
        What is to be had differs from its digest.
    OSError
        The disk is too small, or cannot be written.
    """
    wanted = _Wanted(config, version)
    if version.scheme == "https" and not (version.sha256 or version.md5 or trust):
        raise TrustError(
            f"{wanted.label} lies at {wanted.address}, and no digest is known for the file.",
            "If you trust who can change it: trust=True (--trust). Better: `sha256:` in the config.",
        )
    if found := wanted.cached():
        return found
    with files.locked(
        wanted.lock, http.policy.turn, lambda: wanted.downloads.glob(f"{config.id}-*/*.part")
    ) as alone:
        return wanted.cached() or wanted.download(
            alone=alone, progress=settings.show_progress(progress)
        )


@dataclass(frozen=True)
class Place:
    """Where the cache keeps an archive, what it is to be as far as that is known, and the lock of
    the process that downloads it.
    """

    path: Path
    digest: str  # sha256:... or md5:..., or empty
    sha256: str
    lock: Path


def place(config: ModelConfig, version: Version) -> Place:
    """The place of a version's archive in the cache, whether it is there or not.

    Raises
    ------
    IntegrityError
        Those who name a digest of it do not agree.
    """
    wanted = _Wanted(config, version)
    known = wanted.known()
    return Place(wanted.place(known), known.digest, known.sha256, wanted.lock)


def address(version: Version) -> str:
    """The address of a version's archive, by which its digests are remembered."""
    scheme, _, location = version.source.partition(":")
    return str(plugin("source", scheme).address(location))


@dataclass(frozen=True)
class Brought:
    """An archive that somebody brought here, and that is what it should be."""

    path: Path  # where the cache keeps it
    sha256: str
    record: Callable[[], None]
    here: bool  # whether it lies there already

    def settle(self, archive: Path) -> None:
        """Rename ``archive``, on the cache's own disk, to its place, and remember its digests."""
        if not self.here:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            archive.replace(self.path)
        self.record()


def brought(
    config: ModelConfig,
    version: Version,
    archive: Path,
    said: Mapping[str, str],
    *,
    by: Path,
    trust: bool,
) -> Brought:
    """Hold an archive that the file ``by`` brought here to all that is known of it; ``said`` are
    its digests by that file.

    Raises
    ------
    IntegrityError
        It has another digest than the config names, its source stated, or its first use had.
    TrustError
        The file alone says what it is to be, and ``trust`` is not given.
    """
    wanted = _Wanted(config, version)
    first = {} if version.sha256 else digests.recorded(wanted.address)
    stated = (wanted.source.known(wanted.location) or http.Remote(wanted.address)).md5
    found = {kind: files.digest_of(archive, kind) for kind in ("sha256", "md5")}
    for kind, digest in found.items():
        source = stated if kind == "md5" and not version.sha256 else ""
        here = {
            f"its config ({config.path})": getattr(version, kind),
            f"its first use ({digests.path()})": first.get(kind, ""),
            f"its source ({version.scheme})": source,
        }
        digests.agree(
            wanted.address,
            {**here, f"what {by} says": said.get(kind, ""), f"what {by} holds": digest},
        )
    known = (
        version.sha256
        or version.md5
        or first
        or stated
        or version.sha256_unconfirmed == found["sha256"]
    )
    if not (known or trust):
        raise TrustError(
            f"{by}: {wanted.label} has sha256 {found['sha256']}, and no expected digest is known "
            "for it.",
            "Nothing was imported. If you trust who wrote it: trust=True (--trust) takes it.",
        )
    by_md5 = version.scheme == "zenodo" or bool(version.md5)
    path = wanted.place(_Known(version.sha256, found["md5"] if by_md5 else ""))

    def record() -> None:
        if not version.sha256:
            digests.record(
                wanted.address, sha256=found["sha256"], **({"md5": found["md5"]} if by_md5 else {})
            )

    whole = path.is_file() and files.sha256_of(path) == found["sha256"]
    return Brought(path, found["sha256"], record, whole)


@dataclass(frozen=True)
class _Known:
    """The digests and the size that an archive is to have, empty where not known."""

    sha256: str = ""
    md5: str = ""
    size: int | None = None

    @property
    def digest(self) -> str:
        """The stronger digest, with its algorithm."""
        return f"sha256:{self.sha256}" if self.sha256 else f"md5:{self.md5}" if self.md5 else ""


class _Wanted:
    """An archive that a version names, and the ways to it."""

    def __init__(self, config: ModelConfig, version: Version) -> None:
        scheme, _, self.location = version.source.partition(":")
        self.config, self.version = config, version
        self.source: Any = plugin("source", scheme)
        self.address: str = self.source.address(self.location)
        self.label = f"{config.id}, version {version.name},"
        self.downloads = settings.cache_folder() / "downloads"

    @property
    def lock(self) -> Path:
        """The lock of the process that downloads it."""
        return (
            settings.cache_folder()
            / "locks"
            / f"{hashlib.sha256(self.address.encode()).hexdigest()[:16]}.lock"
        )

    def known(self, remote: http.Remote | None = None) -> _Known:
        """What the file is to be, by the config, by its first use, and by what its source says."""
        version, remote = (
            self.version,
            remote or self.source.known(self.location) or http.Remote(self.address),
        )
        size = version.size or remote.size
        if version.sha256_unconfirmed:  # its size was seen elsewhere too
            size = remote.size or version.size
        if version.sha256:
            return _Known(version.sha256, version.md5, size)
        first = digests.recorded(self.address)
        said = {
            f"its config ({self.config.path})": version.md5,
            f"its first use ({digests.path()})": first.get("md5", ""),
            f"its source ({self.version.scheme})": remote.md5,
        }
        digests.agree(self.address, said)
        md5 = next(filter(None, said.values()), "")
        return _Known(first.get("sha256", "") if md5 == first.get("md5", "") else "", md5, size)

    def place(self, known: _Known) -> Path:
        """Where the cache keeps it."""
        key = self.version.sha256 or known.md5 or hashlib.sha256(self.address.encode()).hexdigest()
        name = self.source.mirrored(self.location).rpartition("/")[2] or "package.zip"
        return self.downloads / f"{self.config.id}-{key[:16]}" / name

    def cached(self) -> Archive | None:
        """What lies in the cache, if it is what it should be."""
        known = self.known()
        path = self.place(known)
        if not known.digest or not path.is_file():
            return None
        kind, _, expected = known.digest.partition(":")
        if files.digest_of(path, kind) != expected:
            return None
        with suppress(OSError):  # a cache that others fill may be read-only
            return self.settled(path, known)
        return Archive(path, known.sha256 or files.sha256_of(path))

    def settled(self, path: Path, known: _Known) -> Archive:
        """A file of the right digest, which is remembered where the config has none that is as
        good.
        """
        if known.sha256:
            return Archive(path, known.sha256)
        sha256, unconfirmed = files.sha256_of(path), self.version.sha256_unconfirmed
        digests.record(self.address, sha256=sha256, **({"md5": known.md5} if known.md5 else {}))
        if unconfirmed and sha256 != unconfirmed:
            problem = (
                f"{self.label} has the md5 that its source names, but not the sha256 that others "
                "recorded."
            )
            warnings.warn(
                f"{problem}\n  others     {unconfirmed}\n  found      {sha256}",
                MedzooWarning,
                stacklevel=2,
            )
        return Archive(path, sha256)

    # ---------------------------------------------------------------------------------------------------
    # from elsewhere
    def download(self, *, alone: bool, progress: bool) -> Archive:
        """Fetch it from the first address that has it."""
        known = self.known()
        if not known.digest and not settings.offline():
            try:
                known = self.known(self.source.ask(self.location))
            except SourceError as refused:
                raise self.nowhere([(self.address, refused)]) from refused
        path, failures = self.place(known), list[tuple[str, MedzooError]]()
        if path.exists() and known.digest and not settings.offline():
            warnings.warn(
                f"{path} is damaged and will be downloaded again.", MedzooWarning, stacklevel=2
            )
        for address in self.addresses(known):
            error = self.attempt(address, path, known, alone=alone, progress=progress)
            if error is None:
                break
            failures.append((address, error))
        else:
            raise self.offline(known, failures) if settings.offline() else self.nowhere(failures)
        for _, failure in failures:
            warnings.warn(
                f"{failure.problem}\nThe file came from another address.",
                MedzooWarning,
                stacklevel=2,
            )
        return self.settled(path, known)

    def attempt(
        self, address: str, path: Path, known: _Known, *, alone: bool, progress: bool
    ) -> MedzooError | None:
        """Fetch it from one address; returns what went wrong there."""
        try:
            if address == self.address:
                self.from_source(path, known, alone=alone, progress=progress)
            else:
                retrieve(address, path, http.Download(known.digest, known.size, progress, alone))
        except (SourceError, IntegrityError) as error:
            return error
        return None

    def addresses(self, known: _Known) -> Iterator[str]:
        """Mirrors of the user's first, as they are near; then the source; then the config's, for
        when that is gone.
        """
        if known.digest:  # a mirror needs a digest to compare with
            mirrors = [_below(m, self.source.mirrored(self.location)) for m in settings.mirrors()]
            yield from (m for m in mirrors if _is_local(m) or not settings.offline())
        if not settings.offline():
            yield self.address
        if known.digest:
            base = self.config.path.parent
            mirrors = [
                str(file.fetch(m[5:], base)) if _is_local(m) else m for m in self.version.mirrors
            ]
            yield from (m for m in mirrors if _is_local(m) or not settings.offline())

    def from_source(self, path: Path, known: _Known, *, alone: bool, progress: bool) -> None:
        """Fetch it from the source itself; when that fails, ask whether the source now says
        something else.
        """
        before = self.source.known(self.location)
        remote: http.Remote = before or self.source.ask(self.location)
        known = self.known(remote)
        if None not in (remote.size, known.size) and remote.size != known.size:
            raise http.other_bytes(self.address, f"{known.size:,} bytes", f"{remote.size:,} bytes")
        try:
            retrieve(remote.url, path, http.Download(known.digest, known.size, progress, alone))
        except (SourceError, IntegrityError):
            if before:
                with suppress(SourceError):
                    self.known(self.source.ask(self.location))
            raise

    # --------------------------------------------------------------------------------------------------
    # when all fails
    def nowhere(self, failures: list[tuple[str, MedzooError]]) -> MedzooError:
        """The error when no address has it: of the kind that the source itself gave."""
        own = next((e for a, e in failures if a == self.address), failures[-1][1])
        problems = "\n".join(e.problem for _, e in failures)
        return type(own)(f"{self.label} could not be fetched.\n{problems}", own.hint)

    def offline(self, known: _Known, failures: list[tuple[str, MedzooError]]) -> SourceError:
        """The error when it would take a network."""
        path, there = self.place(known), self.source.mirrored(self.location)
        what = "is damaged in the cache" if path.exists() else "is not in the cache"
        problems = "".join(f"\n{e.problem}" for _, e in failures)
        way = (
            f"Where there is a network, `medzoo cache export FILE {self.config.number}` writes a file that "
            "`medzoo cache import FILE` imports here."
        )
        if known.digest:
            way = (
                f"Put {self.address} ({known.digest}) at {path}, or as {there} in a folder that MEDZOO_MIRROR names. "
                + way
            )
        return SourceError(
            f"{self.label} {what}, and MEDZOO_OFFLINE is set: {path.name}{problems}",
            way,
        )


def _is_local(address: str) -> bool:
    return not address.startswith(("http://", "https://"))


def _below(mirror: str, location: str) -> str:
    """The address of a file on a mirror."""
    if _is_local(mirror):
        return str(settings.user_path(mirror.removeprefix("file:"), "MEDZOO_MIRROR") / location)
    return f"{mirror.rstrip('/')}/{quote(location)}"


def retrieve(address: str, path: Path, downloader: http.Download) -> None:
    """Fetch a file by way of pooch, which puts it in its place when its digest is right.

    Raises
    ------
    SourceError
        It cannot be fetched.
    IntegrityError
        It differs from its digest.
    """
    import pooch  # type: ignore[import-untyped]

    get: Callable[..., None] = downloader
    if _is_local(address):
        if not Path(address).is_file():
            raise SourceError(f"There is no file {address}.")
        get = _copy
    for again in (False, True):
        try:
            with _quiet(pooch.get_logger()):
                pooch.retrieve(
                    address, downloader.digest or None, path.name, path.parent, downloader=get
                )
            break
        except ValueError as error:  # pooch's: the file on the disk has another digest
            downloader.forget()
            if again or get is _copy:
                expected = downloader.digest.partition(":")
                found = (
                    files.digest_of(Path(address), expected[0])
                    if get is _copy
                    else "the bytes on the disk differ from those that were received"
                )
                raise http.other_bytes(address, expected[2], found) from error
            downloader.alone = (
                False  # without locks, another process may have written to the same partial file
            )
    downloader.forget()
    for left in path.parent.glob("tmp*"):  # pooch's, of processes that were killed
        with suppress(OSError):
            if left.samefile(path) or not left.stat().st_size:
                left.unlink()


def _copy(address: str, output_file: str, pooch: object = None) -> None:  # noqa: ARG001
    files.require_space(Path(output_file).parent, Path(address).stat().st_size)
    shutil.copyfile(address, output_file)


@contextmanager
def _quiet(logger: Logger) -> Iterator[None]:
    """Without pooch's own lines on what it does."""
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)
