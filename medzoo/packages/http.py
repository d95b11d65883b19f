"""A client for files and JSON that retries when a server is busy or a connection breaks.

The received part of a download is in ``FILE.xxxxxxxx.part``. A note beside it holds the ETag or the
date of the file, so that this process, or a later one, can ask for only the rest.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from .. import __version__, files, settings
from ..errors import IntegrityError, SourceError

if TYPE_CHECKING:
    from requests import RequestException, Response
    from tqdm import tqdm

T = TypeVar("T")
USER_AGENT = f"medzoo/{__version__} (+https://github.com/medzoo/medzoo)"
JSON_BYTES = 32 * 2**20  # no JSON answer that medzoo needs is larger
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
NETWORK = (
    "Is there a network, or a proxy to name in HTTPS_PROXY? docs/downloads.md explains mirrors and "
    "work without a network."
)
LATER = (
    "Try again later: the received part is kept and not sent again. docs/downloads.md explains "
    "mirrors."
)


@dataclass(frozen=True)
class Policy:
    """How long to wait and how often to try; times in seconds."""

    connect: float = 10.0  # to wait for a connection
    stall: float = 30.0  # to wait for the next byte
    attempts: int = 7  # in a row, without progress
    unreachable: int = 3  # attempts in a row, if the server cannot be reached
    gain: int = 2**20  # bytes that count as progress
    pause: float = 0.5  # before the second attempt; doubled before each further one
    patience: float = 300.0  # the longest wait that a server may ask for
    turn: float = 120.0  # to wait for another process, if its download does not grow
    chunk: int = 2**16  # bytes written at a time
    sleep: Callable[[float], None] = time.sleep


policy = Policy()


@dataclass(frozen=True)
class Remote:
    """The address of a file, with the size and the digests that the source states."""

    url: str
    size: int | None = None
    md5: str = ""
    sha1: str = ""
    sha256: str = ""
    blob: str = ""  # the sha1 that git gives to the content
    headers: Mapping[str, str] = field(default_factory=dict)  # of each request
    # Raises an error for an answer that the source explains better than its status does.
    inspect: Callable[[Response], None] | None = None


class _AgainError(Exception):
    """An error after which another attempt makes sense.

    ``wait`` is the time that the server asked for; ``reached`` whether it could be reached.
    """

    def __init__(self, problem: str, wait: float | None = None, *, reached: bool = True) -> None:
        super().__init__(problem)
        self.wait, self.reached = wait, reached


def get_json(url: str) -> Any:
    """Fetch JSON from an address.

    Raises
    ------
    SourceError
        The address cannot be reached, refuses, or answers with something else.
    """
    (answer,) = get_json_pages(url, pages=1)
    return answer


def get_json_pages(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    inspect: Callable[[Response], None] | None = None,
    pages: int = 1000,
) -> Iterator[Any]:
    """Fetch JSON that may go on at the address in the header ``Link`` of each answer.

    Parameters
    ----------
    url : str
        The first address.
    headers : mapping of str to str, optional
        Further headers of each request.
    inspect : callable, optional
        Looks at each answer, and may raise an error.
    pages : int, optional
        The largest number of answers.

    Raises
    ------
    SourceError
        As `get_json`, or there are more answers than ``pages``.
    """
    for _ in range(pages):
        answer, following = _one_page(url, headers or {}, inspect)
        yield answer
        if not following or pages == 1:
            return
        if urlsplit(following)[:2] != urlsplit(url)[:2]:
            raise SourceError(f"{url} goes on at another host: {following}.", NETWORK)
        url = following
    raise SourceError(f"{url} sends an endless answer.", NETWORK)


def _one_page(
    url: str, headers: Mapping[str, str], inspect: Callable[[Response], None] | None
) -> tuple[Any, str]:
    """The JSON at an address, and the address where it goes on; empty if it is complete."""

    def once() -> tuple[Any, str]:
        accepted = {"Accept": "application/json", **headers}
        with _answer(url, accepted, inspect) as response:
            body = bytearray()
            for block in response.iter_content(policy.chunk):
                body += block
                if len(body) > JSON_BYTES:
                    raise SourceError(f"{url} sends an endless answer.", NETWORK)
            try:
                following = response.links.get("next", {}).get("url", "")
                return json.loads(body), urljoin(url, following) if following else ""
            except ValueError as error:
                _refuse_page(url, response, bytes(body))
                raise SourceError(
                    f"{url} does not answer with JSON, but with {bytes(body[:60])!r}.", NETWORK
                ) from error

    return _patiently(once, url)


@dataclass
class Download:
    """A downloader for ``pooch.retrieve``.

    Parameters
    ----------
    digest : str, optional
        ``sha256:...`` or ``md5:...``; empty if none is known.
    size : int, optional
        The size of the file in bytes, if known.
    progress : bool, optional
        Whether to draw a bar.
    alone : bool, optional
        Whether no other process downloads the file. If another one may, the partial file gets a
        random name, and a later download cannot continue it.
    most : int, optional
        The largest number of bytes to accept if ``size`` is not known.
    headers : mapping of str to str, optional
        Further headers of each request.
    inspect : callable, optional
        Looks at each answer, and may raise an error.
    """

    digest: str = ""
    size: int | None = None
    progress: bool = False
    alone: bool = True
    most: int = files.MAX_BYTES
    headers: Mapping[str, str] = field(default_factory=dict)
    inspect: Callable[[Response], None] | None = None
    _from_the_start: bool = field(default=False, init=False)
    _part: _Partial | None = field(default=None, init=False)

    def __call__(self, url: str, output_file: str, pooch: object = None) -> None:  # noqa: ARG002
        """Download ``url`` to ``output_file``. The partial file beside it stays until `forget`.

        Raises
        ------
        SourceError
            The address cannot be reached, refuses, or answers with a web page.
        IntegrityError
            The file has another size or digest. Nothing of it is kept.
        OSError
            The disk is too small.
        """
        bar_class = settings.progress_bar()
        target = Path(output_file)
        name = _name_of(url)
        tail = hashlib.sha256(url.encode()).hexdigest()[:8]
        if not self.alone:
            tail += f".{secrets.token_hex(4)}"
        self._part = part = _Partial(target.with_name(f"{name}.{tail}.part"), url, self.digest)
        with bar_class(
            desc=name, unit="B", unit_scale=True, unit_divisor=1000, disable=not self.progress
        ) as bar:
            _patiently(lambda: self._attempt(url, part, bar), url, part.on_disk, bar)
        target.unlink(missing_ok=True)
        try:
            # A link keeps the partial file: if this process is killed before pooch renames
            # `target`, the next download still finds it.
            target.hardlink_to(part.path)
        except OSError:  # a disk without hard links
            part.path.replace(target)

    def forget(self) -> None:
        """Remove the partial file, which is complete and in its place, or cannot be used."""
        if self._part:
            self._part.forget()

    def _attempt(self, url: str, part: _Partial, bar: tqdm[Any]) -> None:
        part.take_up()
        resumed = part.size
        is_complete = part.size and part.size == part.note["size"]
        if not is_complete:
            with _answer(url, {**self.headers, **part.headers()}, self.inspect) as response:
                total = self._check(url, part, response)
                resumed = part.size
                _show(bar, part.size, total)
                self._receive(url, part, response, total, bar)
        expected, actual = self.digest.partition(":")[2], part.hash.hexdigest()
        if expected and actual != expected:
            part.forget()
            if resumed and not self._from_the_start:
                self._from_the_start = True
                raise _AgainError("the received parts do not have the right digest together", 0)
            raise other_bytes(url, expected, actual)

    def _check(self, url: str, part: _Partial, response: Response) -> int | None:
        """Check whether the answer continues the partial file, or start it again.

        Returns the size of the whole file, if known.
        """
        if response.status_code != 200 and not part.continued_by(response):
            part.forget()
            raise _AgainError("it now offers another file than before", 0)
        total = _length(response) if response.status_code == 200 else part.note["size"]
        if response.status_code == 200:
            if None not in (total, self.size) and total != self.size:
                _refuse_page(url, response, next(response.iter_content(2**12), b""))
                raise other_bytes(url, f"{self.size:,} bytes", f"{total:,} bytes")
            part.begin(response, total)
        total = self.size if total is None else total
        files.require_space(part.path.parent, max(0, (total or 0) - part.size))
        if self.size is None and (total or 0) > self.most:
            part.forget()
            raise IntegrityError(
                f"{url} gives {total:,} bytes, but at most {self.most:,} are allowed."
            )
        return total

    def _receive(
        self, url: str, part: _Partial, response: Response, total: int | None, bar: tqdm[Any]
    ) -> None:
        most = self.most if total is None else total
        with part.path.open("r+b") as file:
            file.seek(part.size)
            for block in response.iter_content(policy.chunk):
                if not part.size:
                    _refuse_page(url, response, block)
                if part.size + len(block) > most:
                    part.forget()
                    raise other_bytes(url, f"{most:,} bytes", "more")
                file.write(block)
                file.flush()
                part.size += len(block)
                part.hash.update(block)
                bar.update(len(block))
        if total is not None and part.size < total:
            raise _AgainError(f"its answer ends after {part.size:,} of {total:,} bytes")


class _Partial:
    """The received beginning of a file, its hash, and a note about the whole file."""

    def __init__(self, path: Path, url: str, digest: str) -> None:
        self.path, self._note_path = path, path.with_name(f"{path.name}.json")
        self._identity = {"url": url, "digest": digest}
        self._algorithm = digest.partition(":")[0] or "sha256"
        self._empty()

    def _empty(self) -> None:
        self.size, self.note = 0, dict[str, Any](self._identity)
        self.hash = hashlib.new(self._algorithm, usedforsecurity=False)

    def on_disk(self) -> int:
        """The number of received bytes."""
        with suppress(OSError):
            return self.path.stat().st_size
        return 0

    def take_up(self) -> None:
        """Continue with the bytes of an earlier attempt, or start without any."""
        self._empty()
        with suppress(OSError, ValueError):
            note = json.loads(self._note_path.read_text(encoding="utf-8"))
            if not isinstance(note, dict) or not note.items() >= self._identity.items():
                return
            if not {"validator", "size"} <= set(note):
                return
            with self.path.open("rb") as file:
                while block := file.read(2**20):
                    self.hash.update(block)
                    self.size += len(block)
            self.note = note

    def headers(self) -> dict[str, str]:
        """The headers of a request for the rest of the file."""
        if not self.size:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self.note["validator"]}

    def continued_by(self, response: Response) -> bool:
        """Whether an answer holds the rest of the same file."""
        content_range = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code != 206 or not self.size or not content_range:
            return False
        start, total = content_range.groups()
        if int(start) != self.size:
            return False
        same_size = total == "*" or self.note["size"] in (None, int(total))
        return same_size and _validator(response) in ("", self.note["validator"])

    def begin(self, response: Response, total: int | None) -> None:
        """Start again, with an answer that holds the whole file."""
        self.forget()
        self.path.touch()
        if validator := _validator(response):
            self.note |= {"validator": validator, "size": total}
            files.write_json(self._note_path, self.note)

    def forget(self) -> None:
        """Remove the partial file and its note."""
        # The note goes first: a partial file without a note is never used.
        self._note_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        self._empty()


def other_bytes(url: str, expected: str, actual: str) -> IntegrityError:
    """The error for an address that has another file than the registered one."""
    return IntegrityError(
        f"{url} gives another file than the registered one.\n"
        f"  expected {expected}\n  found    {actual}",
        "Nothing of it was kept. Was the file changed, or is this medzoo too old?",
    )


def _name_of(url: str) -> str:
    """The name of the file at an address, without characters that a disk may not allow."""
    path = unquote(url.partition("?")[0].removesuffix("/content"))
    return re.sub(r"[^\w.-]", "_", path.rpartition("/")[2])[:100]


# -------------------------------------------------------------------------------------------------
# one answer, or many
def _patiently(
    once: Callable[[], T], url: str, arrived: Callable[[], int] = int, bar: tqdm[Any] | None = None
) -> T:
    """Call ``once`` until it succeeds, fails with another error, or fails too often in a row."""
    failures = 0
    while True:
        before = arrived()
        try:
            return once()
        except _AgainError as error:
            trouble = error
        failures = 1 if arrived() - before >= policy.gain else failures + 1
        if failures >= (policy.attempts if trouble.reached else policy.unreachable):
            raise SourceError(
                f"{url} failed {failures} times in a row: {trouble}.",
                LATER if trouble.reached else NETWORK,
            ) from trouble
        wait = policy.pause * 2 ** (failures - 1) if trouble.wait is None else trouble.wait
        if wait:  # a random part, so that many clients do not come back at the same moment
            wait += policy.pause * secrets.randbelow(1000) / 1000
        if bar is not None and wait:
            bar.set_postfix_str(f"{trouble}; again in {wait:.0f} s")
        policy.sleep(wait)


@contextmanager
def _answer(
    url: str, headers: Mapping[str, str], inspect: Callable[[Response], None] | None = None
) -> Iterator[Response]:
    """A successful answer, whose body is not read yet.

    After an error for which another attempt makes sense, `_AgainError` is raised.
    """
    import requests
    from requests import exceptions

    # A file that is compressed on the way has another size than announced.
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
    try:
        with requests.get(
            url,
            headers=headers,
            stream=True,
            timeout=(policy.connect, policy.stall),
            verify=settings.certificates() or True,
        ) as response:
            if inspect:
                inspect(response)
            _check_status(url, response)
            yield response
    except exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise _AgainError(f"the secure connection broke: {error}") from error
        raise SourceError(
            f"{url} shows a certificate that is not trusted here: {error}.",
            "Behind an institute's own certificates, name them in REQUESTS_CA_BUNDLE or "
            "SSL_CERT_FILE.",
        ) from error
    except (
        exceptions.ConnectionError,
        exceptions.Timeout,
        exceptions.ChunkedEncodingError,
    ) as error:
        raise _broken_line(error) from error
    except exceptions.RequestException as error:
        raise SourceError(f"{url} cannot be used: {error}.", NETWORK) from error


def _broken_line(error: RequestException) -> _AgainError:
    from requests.exceptions import ProxyError
    from urllib3 import exceptions

    cause: Any = error.args[0] if error.args else error
    cause = getattr(cause, "reason", cause)
    if isinstance(error, ProxyError):
        return _AgainError(f"the proxy does not forward it ({cause})", reached=False)
    if isinstance(cause, exceptions.NewConnectionError):  # unknown name, or no server there
        return _AgainError(re.sub(r"^.*: |\s*\(.*\)$", "", str(cause)), reached=False)
    if isinstance(cause, exceptions.ConnectTimeoutError):
        return _AgainError(f"no answer within {policy.connect:g} s", reached=False)
    if isinstance(cause, exceptions.ReadTimeoutError):
        return _AgainError(f"nothing came for {policy.stall:g} s")
    return _AgainError(
        f"the connection broke ({type(getattr(cause, '__context__', None) or cause).__name__})"
    )


def _check_status(url: str, response: Response) -> None:
    status, ways = response.status_code, [r.url for r in (*response.history, response)]
    if url.startswith("https:") and not all(way.startswith("https:") for way in ways):
        raise SourceError(
            f"{url} redirects to an address that is not secure: {ways[-1]}.",
            "Nothing was fetched from it.",
        )
    if status in {200, 206, 416}:
        return
    answers = f"it answers {status} {response.reason or ''}".strip()
    if status in {429, 503}:
        wait = asked_wait(response)
        if wait is not None and wait > policy.patience:
            raise SourceError(
                f"{url} asks clients to wait {wait / 60:.0f} minutes ({answers}).", LATER
            )
        raise _AgainError(answers, wait)
    if status >= 500:
        raise _AgainError(answers)
    if status in {404, 410}:
        raise SourceError(
            f"There is nothing at {url} ({answers}).",
            "Has it moved? `medzoo info` names the source.",
        )
    raise SourceError(f"{url} does not give the file: {answers}.", NETWORK)


def asked_wait(response: Response) -> float | None:
    """The seconds that an answer asks to wait, by ``Retry-After`` or ``X-RateLimit-Reset``."""
    from email.utils import parsedate_to_datetime

    retry_after = response.headers.get("Retry-After", "").strip()
    now = datetime.now(timezone.utc).timestamp()
    with suppress(ValueError, OverflowError):
        if retry_after.isdecimal():
            until = now + int(retry_after)
        elif retry_after:
            until = parsedate_to_datetime(retry_after).timestamp()
        else:
            until = float(response.headers.get("X-RateLimit-Reset", now))
        return max(0.0, until - now) or None
    return None


def _length(response: Response) -> int | None:
    """The number of bytes that an answer announces, unless it is compressed."""
    length = response.headers.get("Content-Length", "")
    plain = response.headers.get("Content-Encoding", "identity") == "identity"
    return int(length) if length.isdecimal() and plain else None


def _validator(response: Response) -> str:
    """What identifies the exact content of a file: its ETag, or its date; empty if unknown."""
    tag = str(response.headers.get("ETag", ""))
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return ""
    return tag if tag.startswith('"') else str(response.headers.get("Last-Modified", ""))


def _refuse_page(url: str, response: Response, body: bytes) -> None:
    """Raise SourceError if an answer is a web page (a login, a message of a proxy or server), or
    the pointer that git-lfs has in place of a large file.
    """
    if body.startswith(b"version https://git-lfs"):
        raise SourceError(
            f"{url} gives a git-lfs pointer, not the file itself.",
            "Is there another address for large files, such as `media` or `resolve` in it?",
        )
    if not body.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return
    match = TITLE.search(body)
    title = "without a title"
    if match:
        title = html.unescape(" ".join(match[1].decode(errors="replace").split()))[:100]
    where = f" from {response.url}" if response.url != url else ""
    raise SourceError(
        f"{url} answers with a web page{where}: {title}.",
        "A proxy or a login page may answer instead: open the address in a browser.",
    )


def _show(bar: tqdm[Any], arrived: int, total: int | None) -> None:
    """Set a bar to the received bytes. Its rate counts only the bytes from now on."""
    if not bar.disable:
        bar.total, bar.initial, bar.n, bar.last_print_n = total, arrived, arrived, arrived
        bar.start_t = bar.last_print_t = time.time()
        bar.set_postfix_str("")
