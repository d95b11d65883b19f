"""Archives from a network: out of the cache, or else from a mirror or the source.

Wherever an archive comes from, it must have the same digest.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
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

PUBLISHED = ("sha1", "md5")  # digests of publishers that state no sha256


@dataclass(frozen=True)
class Archive:
    """A file on this machine that has the right digest."""

    path: Path
    sha256: str


def fetch(
    config: ModelConfig, version: Version, *, trust: bool = False, progress: bool | None = None
) -> Archive:
    """The archive of a version whose source is on a network, from the cache if it is there.

    If several processes need the same archive, only one of them downloads it. Another process may
    remove it, unless the caller is `using` the downloads of the model.

    Raises
    ------
    TrustError
        Neither the config nor the source has a digest of it, and ``trust`` is not set.
    SourceError
        No address has it.
    IntegrityError
        The file differs from its digest.
    OSError
        The disk is too small, or cannot be written.
    """
    require_digest(config, version, trust=trust)
    wanted = _Wanted(config, version)
    archive = wanted.cached()
    if archive:
        return archive

    def partial_files() -> Iterator[Path]:
        return wanted.downloads.glob(f"{config.id}-*/*.part")

    with files.locked(wanted.lock, http.policy.turn, partial_files) as alone:
        # Another process may have downloaded it in the meantime.
        archive = wanted.cached()
        show = settings.show_progress(progress)
        return archive or wanted.download(alone=alone, progress=show)


def require_digest(config: ModelConfig, version: Version, *, trust: bool) -> None:
    """Raise TrustError if nothing can tell whether a downloaded file is the right one."""
    has_digest = version.sha256 or version.sha1 or version.md5
    if version.scheme == "https" and not (has_digest or trust):
        wanted = _Wanted(config, version)
        raise TrustError(
            f"{wanted.label} lies at {wanted.address}, and no digest is known for the file.",
            "If you trust everyone who can change the file: trust=True (--trust). "
            "Better: `sha256:` in the config.",
        )


@dataclass(frozen=True)
class Place:
    """Where the cache keeps an archive, and the digest that it must have."""

    path: Path
    digest: str  # sha256:..., sha1:... or md5:..., or empty if not known
    sha256: str  # empty if not known
    lock: Path  # of the process that downloads it


def place(config: ModelConfig, version: Version) -> Place:
    """The place of the archive of a version in the cache, whether it is there or not.

    Raises
    ------
    IntegrityError
        Config, source and first use state different digests.
    """
    wanted = _Wanted(config, version)
    expected = wanted.expected()
    return Place(wanted.place(expected), expected.digest, expected.sha256, wanted.lock)


def using(model: str) -> AbstractContextManager[None]:
    """While the block runs, no process removes what was downloaded for the model with this id."""
    return files.using(mark_of(model))


def mark_of(model: str) -> Path:
    """The empty file that processes lock while they use what was downloaded for a model."""
    return settings.cache_folder() / "locks" / f"{model}.use"


def address(version: Version) -> str:
    """The address of the archive of a version, under which its digests are recorded."""
    scheme, _, location = version.source.partition(":")
    return str(plugin("source", scheme).address(location))


@dataclass(frozen=True)
class Brought:
    """An archive from a file of `transfer` that has the right digests."""

    path: Path  # where the cache keeps it
    sha256: str
    record: Callable[[], None]  # records its digests
    here: bool  # whether it is in the cache already

    def settle(self, archive: Path) -> None:
        """Rename ``archive``, on the disk of the cache, to its place, and record its digests."""
        if not self.here:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            archive.replace(self.path)
        self.record()


def brought(
    config: ModelConfig,
    version: Version,
    archive: Path,
    stated: Mapping[str, str],
    *,
    by: Path,
    trust: bool,
) -> Brought:
    """Compare an archive that the file ``by`` holds with all digests of it that are known.

    Parameters
    ----------
    config, version : ModelConfig, Version
        The model.
    archive : Path
        The archive, taken out of ``by``.
    stated : mapping of str to str
        Its digests, as ``by`` states them: ``sha256``, ``md5``.
    by : Path
        The file that holds the archive.
    trust : bool
        Whether to accept an archive whose digest only ``by`` states.

    Raises
    ------
    IntegrityError
        It has another digest than config, source, first use or ``by`` state.
    TrustError
        Only ``by`` states a digest, and ``trust`` is not set.
    """
    wanted = _Wanted(config, version)
    first = {} if version.sha256 else digests.recorded(wanted.address)
    remote = wanted.source.known(wanted.location) or http.Remote(wanted.address)
    actual_digests = {kind: files.digest_of(archive, kind) for kind in ("sha256", *PUBLISHED)}
    sha256 = actual_digests["sha256"]
    for kind, actual in actual_digests.items():
        claims = {
            f"its config ({config.path})": getattr(version, kind),
            f"its first use ({digests.path()})": first.get(kind, ""),
            f"its source ({version.scheme})": "" if version.sha256 else getattr(remote, kind),
            f"what {by} says": stated.get(kind, ""),
            f"what {by} holds": actual,
        }
        digests.agree(wanted.address, claims)
    is_blob = bool(remote.blob) and remote.blob == _blob(archive)
    stated_elsewhere = [
        getattr(place, kind) for place in (version, remote) for kind in actual_digests
    ]
    confirmed = any(stated_elsewhere) or first or is_blob
    if not (confirmed or version.sha256_unconfirmed == sha256 or trust):
        raise TrustError(
            f"{by}: {wanted.label} has sha256 {sha256}, and no expected digest is known for it.",
            "Nothing was imported. If you trust who wrote it: trust=True (--trust) accepts it.",
        )
    if not (version.scheme == "zenodo" or version.md5):
        del actual_digests["md5"]
    if not version.sha1:
        del actual_digests["sha1"]

    def record() -> None:
        if not version.sha256:
            digests.record(wanted.address, **actual_digests)

    md5, sha1 = actual_digests.get("md5", ""), actual_digests.get("sha1", "")
    path = wanted.place(_Expected(version.sha256, md5, sha1=sha1))
    is_cached = path.is_file() and files.sha256_of(path) == sha256
    return Brought(path, sha256, record, is_cached)


@dataclass(frozen=True)
class _Expected:
    """The digests and the size that an archive must have; empty or None if not known."""

    sha256: str = ""
    md5: str = ""
    size: int | None = None
    sha1: str = ""
    blob: str = ""  # the sha1 that git gives to the content

    @property
    def digest(self) -> str:
        """The strongest digest, with its algorithm; empty if none is known."""
        for kind in ("sha256", "sha1", "md5"):
            if value := getattr(self, kind):
                return f"{kind}:{value}"
        return ""

    @property
    def is_known(self) -> bool:
        """Whether anything can tell the right file from others."""
        return bool(self.digest or self.blob)

    def check_blob(self, url: str, path: Path) -> None:
        """Raise IntegrityError, and remove the file, if git gives another number to it."""
        actual = _blob(path) if self.blob else ""
        if actual != self.blob:
            path.unlink()
            raise http.other_bytes(url, f"git blob {self.blob}", f"git blob {actual}")


def _blob(path: Path) -> str:
    """The sha1 that git gives to the content of a file."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


class _Wanted:
    """The archive that a version names, and how to get it."""

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
        return settings.cache_folder() / "locks" / f"{self.address_digest[:16]}.lock"

    @property
    def address_digest(self) -> str:
        """A digest of the address, for names of files."""
        return hashlib.sha256(self.address.encode()).hexdigest()

    def expected(self, remote: http.Remote | None = None) -> _Expected:
        """Digests and size of the file, from the config, its first use and its source."""
        version = self.version
        remote = remote or self.source.known(self.location) or http.Remote(self.address)
        size = version.size or remote.size
        if version.sha256_unconfirmed:  # its size was seen elsewhere too
            size = remote.size or version.size
        if version.sha256:
            return _Expected(version.sha256, version.md5, size, version.sha1)
        first = digests.recorded(self.address)
        agreed = {}
        for kind in ("sha256", *PUBLISHED):
            claims = {
                f"its config ({self.config.path})": getattr(version, kind),
                f"its first use ({digests.path()})": first.get(kind, ""),
                f"its source ({version.scheme})": getattr(remote, kind),
            }
            digests.agree(self.address, claims)
            agreed[kind] = next(filter(None, claims.values()), "")
        if any(agreed[kind] != first.get(kind, "") for kind in PUBLISHED):
            agreed["sha256"] = remote.sha256  # the first use was compared with less
        blob = "" if agreed["sha256"] else remote.blob
        return _Expected(agreed["sha256"], agreed["md5"], size, agreed["sha1"], blob)

    def place(self, expected: _Expected) -> Path:
        """Where the cache keeps it."""
        key = self.version.sha256 or expected.sha1 or expected.md5 or self.address_digest
        name = self.source.mirrored(self.location).rpartition("/")[2] or "package.zip"
        return self.downloads / f"{self.config.id}-{key[:16]}" / name

    def cached(self) -> Archive | None:
        """The archive in the cache, if it is there and has the right digest."""
        expected = self.expected()
        path = self.place(expected)
        if not expected.digest or not path.is_file():
            return None
        kind, _, digest = expected.digest.partition(":")
        if files.digest_of(path, kind) != digest:
            return None
        with suppress(OSError):  # a cache that other users fill may be read-only
            return self.settled(path, expected)
        return Archive(path, expected.sha256 or files.sha256_of(path))

    def settled(self, path: Path, expected: _Expected) -> Archive:
        """A file that has the right digest. Its sha256 is recorded unless the config has it."""
        recorded = digests.recorded(self.address).get("sha256", "")
        if expected.sha256 and expected.sha256 in {self.version.sha256, recorded}:
            return Archive(path, expected.sha256)
        unconfirmed = self.version.sha256_unconfirmed
        sha256 = expected.sha256 or files.sha256_of(path)
        published = {kind: getattr(expected, kind) for kind in PUBLISHED}
        stated = {kind: digest for kind, digest in published.items() if digest}
        digests.record(self.address, sha256=sha256, **stated)
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

    # ---------------------------------------------------------------------------------------------
    # from elsewhere
    def download(self, *, alone: bool, progress: bool) -> Archive:
        """Download it from the first address that has it."""
        expected = self.expected()
        if not expected.is_known and not settings.offline():
            try:
                expected = self.expected(self.source.ask(self.location))
            except SourceError as refused:
                raise self.nowhere([(self.address, refused)]) from refused
        path = self.place(expected)
        failures: list[tuple[str, MedzooError]] = []
        if path.exists() and expected.digest and not settings.offline():
            warnings.warn(
                f"{path} is damaged and will be downloaded again.", MedzooWarning, stacklevel=2
            )
        for address in self.addresses(expected):
            error = self.attempt(address, path, expected, alone=alone, progress=progress)
            if error is None:
                break
            failures.append((address, error))
        else:
            raise self.offline(expected, failures) if settings.offline() else self.nowhere(failures)
        for _, failure in failures:
            warnings.warn(
                f"{failure.problem}\nThe file came from another address.",
                MedzooWarning,
                stacklevel=2,
            )
        return self.settled(path, expected)

    def attempt(
        self, address: str, path: Path, expected: _Expected, *, alone: bool, progress: bool
    ) -> MedzooError | None:
        """Download it from one address. Returns the error, if there was one."""
        try:
            if address == self.address:
                self.from_source(path, expected, alone=alone, progress=progress)
            else:
                retrieve(
                    address, path, http.Download(expected.digest, expected.size, progress, alone)
                )
            expected.check_blob(address, path)
        except (SourceError, IntegrityError) as error:
            return error
        return None

    def addresses(self, expected: _Expected) -> Iterator[str]:
        """The addresses to try: first the mirrors of the user, then the source, then the mirrors of
        the config.

        A mirror is used only if a digest is known, and offline only if it is a folder.
        """
        if expected.is_known:
            location = self.source.mirrored(self.location)
            for mirror in settings.mirrors():
                yield from _reachable(_below(mirror, location))
        if not settings.offline():
            yield self.address
        if expected.is_known:
            for mirror in self.version.mirrors:
                path = mirror.removeprefix("file:")
                local = _is_local(mirror)
                yield from _reachable(
                    str(file.fetch(path, self.config.path.parent)) if local else mirror
                )

    def from_source(self, path: Path, expected: _Expected, *, alone: bool, progress: bool) -> None:
        """Download it from the source. If that fails, ask the source for its digest again."""
        before = self.source.known(self.location)
        remote: http.Remote = before or self.source.ask(self.location)
        expected = self.expected(remote)
        if None not in (remote.size, expected.size) and remote.size != expected.size:
            raise http.other_bytes(
                self.address, f"{expected.size:,} bytes", f"{remote.size:,} bytes"
            )
        try:
            downloader = http.Download(
                expected.digest,
                expected.size,
                progress,
                alone,
                headers=remote.headers,
                inspect=remote.inspect,
            )
            retrieve(remote.url, path, downloader)
            expected.check_blob(self.address, path)
        except (SourceError, IntegrityError):
            if before:
                with suppress(SourceError):
                    self.expected(self.source.ask(self.location))
            raise

    # ---------------------------------------------------------------------------------------------
    # when no address has it
    def nowhere(self, failures: list[tuple[str, MedzooError]]) -> MedzooError:
        """The error if no address has it. Its class and hint are those of the source itself."""
        errors = dict(reversed(failures))  # address -> its first error
        error = errors.get(self.address, failures[-1][1])
        text = f"{self.label} could not be fetched."
        for _, failure in failures:
            text += f"\n{failure.problem}"
        return type(error)(text, error.hint)

    def offline(self, expected: _Expected, failures: list[tuple[str, MedzooError]]) -> SourceError:
        """The error if MEDZOO_OFFLINE is set and the archive is not on this machine."""
        path = self.place(expected)
        state = "is damaged in the cache" if path.exists() else "is not in the cache"
        problem = f"{self.label} {state}, and MEDZOO_OFFLINE is set: {path.name}"
        for _, failure in failures:
            problem += f"\n{failure.problem}"
        hint = ""
        if expected.digest:
            name = self.source.mirrored(self.location)
            hint = (
                f"Put {self.address} ({expected.digest}) at {path}, "
                f"or as {name} in a folder that MEDZOO_MIRROR names. "
            )
        if self.config.versions:  # else it is not a model
            hint += (
                f"On a machine with a network, `medzoo cache export FILE {self.config.number}` "
                "writes a file that `medzoo cache import FILE` imports here."
            )
        return SourceError(problem, hint)


def _is_local(address: str) -> bool:
    return not address.startswith(("http://", "https://"))


def _reachable(address: str) -> Iterator[str]:
    """The address, unless it needs a network and there is none."""
    if _is_local(address) or not settings.offline():
        yield address


def _below(mirror: str, location: str) -> str:
    """The address of a file on a mirror."""
    if _is_local(mirror):
        return str(settings.user_path(mirror.removeprefix("file:"), "MEDZOO_MIRROR") / location)
    return f"{mirror.rstrip('/')}/{quote(location)}"


def retrieve(address: str, path: Path, downloader: http.Download) -> None:
    """Fetch a file with pooch, which moves it to ``path`` if its digest is right.

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
        except ValueError as error:  # of pooch: the file on the disk has another digest
            downloader.forget()
            if again or get is _copy:
                kind, _, expected = downloader.digest.partition(":")
                actual = "the bytes on the disk differ from those that were received"
                if get is _copy:
                    actual = files.digest_of(Path(address), kind)
                raise http.other_bytes(address, expected, actual) from error
            # On a disk without locks, another process may have written to the same partial file.
            downloader.alone = False
    downloader.forget()
    for temporary in path.parent.glob("tmp*"):  # files of pooch that killed processes left
        with suppress(OSError):
            is_left = temporary.samefile(path) or not temporary.stat().st_size
            if is_left and temporary != path:
                temporary.unlink()


def _copy(address: str, output_file: str, pooch: object = None) -> None:  # noqa: ARG001
    files.require_space(Path(output_file).parent, Path(address).stat().st_size)
    shutil.copyfile(address, output_file)


@contextmanager
def _quiet(logger: Logger) -> Iterator[None]:
    """Silence the messages of pooch."""
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)
