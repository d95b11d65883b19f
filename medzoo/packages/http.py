"""One careful client for files and for JSON: patient with a server that asks for patience, and with
a line that breaks.

A download grows in ``FILE.xxxxxxxx.part``. What the server said of the file, its ETag or date, lies
beside it, so that this process or a later one asks for the rest alone.
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
from urllib.parse import unquote

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
    """How patient the client is; times in seconds."""

    connect: float = 10.0  # until a server takes the call
    stall: float = 30.0  # without a byte
    attempts: int = 7  # in a row that gain nothing
    unreachable: int = 3  # of these, without a server that takes the call
    gain: int = 2**20  # bytes by which an attempt gains something
    pause: float = 0.5  # before the second attempt; doubled before each further one
    patience: float = 300.0  # the longest wait that a server may ask for
    turn: float = 120.0  # without a sign of life of a process that downloads the same file
    chunk: int = 2**16  # bytes written at a time
    sleep: Callable[[float], None] = time.sleep


policy = Policy()


@dataclass(frozen=True)
class Remote:
    """A file that a server has, and what it says of it."""

    url: str
    size: int | None = None
    md5: str = ""


class _AgainError(Exception):
    """What may pass; ``wait`` is what the server asked for, ``reached`` whether there was one."""

    def __init__(self, why: str, wait: float | None = None, *, reached: bool = True) -> None:
        super().__init__(why)
        self.wait, self.reached = wait, reached


def get_json(url: str) -> Any:
    """The JSON that ``url`` answers with.

    Raises
    ------
    SourceError
        It cannot be reached, refuses, or answers with something else.
    """

    def once() -> Any:
        with _answer(url, {"Accept": "application/json"}) as response:
            body = bytearray()
            for block in response.iter_content(policy.chunk):
                body += block
                if len(body) > JSON_BYTES:
                    raise SourceError(f"{url} sends an endless answer.", NETWORK)
            try:
                return json.loads(body)
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
    digest
        ``sha256:...`` or ``md5:...``; empty where none is known.
    size
        Bytes of the file, where known.
    progress
        Whether to draw a bar.
    alone
        Whether no other process downloads the file. If one may, the partial file has a name that
        none will look for.
    most
        Bytes beyond which nothing is taken, where ``size`` is not known.
    """

    digest: str = ""
    size: int | None = None
    progress: bool = False
    alone: bool = True
    most: int = files.MAX_BYTES
    _from_the_start: bool = field(default=False, init=False)
    _part: _Partial | None = field(default=None, init=False)

    def __call__(self, url: str, output_file: str, pooch: object = None) -> None:  # noqa: ARG002
        """Download ``url`` to ``output_file``; the partial file beside it stays until `forget`.

        Raises
        ------
        SourceError
            It cannot be reached, refuses, or gives a web page.
        IntegrityError
            It gives a file of another size or digest, of which nothing is kept.
        OSError
            The disk is too small.
        """
        bar_class = settings.progress_bar()
        target = Path(output_file)
        name = re.sub(
            r"[^\w.-]",
            "_",
            unquote(url.partition("?")[0].removesuffix("/content")).rpartition("/")[2],
        )[:100]
        tail = hashlib.sha256(url.encode()).hexdigest()[:8] + f".{secrets.token_hex(4)}" * (
            not self.alone
        )
        self._part = part = _Partial(target.with_name(f"{name}.{tail}.part"), url, self.digest)
        with bar_class(
            desc=name, unit="B", unit_scale=True, unit_divisor=1000, disable=not self.progress
        ) as bar:
            _patiently(lambda: self._attempt(url, part, bar), url, part.on_disk, bar)
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(
                part.path
            )  # killed before `target` has its own name, the next one still finds the part
        except OSError:  # a disk without links
            part.path.replace(target)

    def forget(self) -> None:
        """Remove the partial file: the whole one is in its place, or the part is unusable."""
        if self._part:
            self._part.forget()

    def _attempt(self, url: str, part: _Partial, bar: tqdm[Any]) -> None:
        part.take_up()
        resumed = part.size
        if (
            not part.size or part.size != part.note["size"]
        ):  # else it is whole, and only the last step is missing
            with _answer(url, part.headers()) as response:
                total = self._check(url, part, response)
                resumed = part.size
                _show(bar, part.size, total)
                self._receive(url, part, response, total, bar)
        expected, found = self.digest.partition(":")[2], part.hash.hexdigest()
        if expected and found != expected:
            part.forget()
            if resumed and not self._from_the_start:
                self._from_the_start = True
                raise _AgainError("the pieces that arrived do not make the file", 0)
            raise other_bytes(url, expected, found)

    def _check(self, url: str, part: _Partial, response: Response) -> int | None:
        """Whether the answer continues the part or starts again; returns the size of the whole,
        where known.
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
    """The head of a file: its bytes, their hash, and the note that says what it is the head of."""

    def __init__(self, path: Path, url: str, digest: str) -> None:
        self.path, self._note_path = path, path.with_name(f"{path.name}.json")
        self._about = {"url": url, "digest": digest}
        self._algorithm = digest.partition(":")[0] or "sha256"
        self._empty()

    def _empty(self) -> None:
        self.size, self.note = 0, dict[str, Any](self._about)
        self.hash = hashlib.new(self._algorithm, usedforsecurity=False)

    def on_disk(self) -> int:
        """Bytes that have arrived."""
        with suppress(OSError):
            return self.path.stat().st_size
        return 0

    def take_up(self) -> None:
        """Continue with the data of an earlier attempt, or start with nothing."""
        self._empty()
        with suppress(OSError, ValueError):
            note = json.loads(self._note_path.read_text(encoding="utf-8"))
            if (
                isinstance(note, dict)
                and note.items() >= self._about.items()
                and {"validator", "size"} <= set(note)
            ):
                with self.path.open("rb") as file:
                    while block := file.read(2**20):
                        self.hash.update(block)
                        self.size += len(block)
                self.note = note

    def headers(self) -> dict[str, str]:
        """What to ask for the rest with."""
        return (
            {"Range": f"bytes={self.size}-", "If-Range": self.note["validator"]}
            if self.size
            else {}
        )

    def continued_by(self, response: Response) -> bool:
        """Whether an answer is the rest, and of the same file."""
        found = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code != 206 or not self.size or not found or int(found[1]) != self.size:
            return False
        same_size = "*" in found[2] or self.note["size"] in (None, int(found[2]))
        return same_size and _validator(response) in ("", self.note["validator"])

    def begin(self, response: Response, total: int | None) -> None:
        """Start again with an answer that holds the whole file."""
        self.forget()
        self.path.touch()
        if validator := _validator(response):
            self.note |= {"validator": validator, "size": total}
            files.write_json(self._note_path, self.note)

    def forget(self) -> None:
        """Leave nothing."""
        self._note_path.unlink(missing_ok=True)  # first: without it the rest is nobody's head
        self.path.unlink(missing_ok=True)
        self._empty()


def other_bytes(url: str, expected: str, found: str) -> IntegrityError:
    """The error for an address that gives another file than the registered one."""
    return IntegrityError(
        f"{url} gives another file than the registered one.\n  expected {expected}\n  found    {found}",
        "Nothing of it was kept. Was the file changed, or is this medzoo too old?",
    )


# -------------------------------------------------------------------------------------------------
# one answer, or many
def _patiently(
    once: Callable[[], T], url: str, arrived: Callable[[], int] = int, bar: tqdm[Any] | None = None
) -> T:
    """Call ``once`` until it succeeds, fails for good, or has failed too often in a row."""
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
        wait += (
            wait and policy.pause * secrets.randbelow(1000) / 1000
        )  # so that many do not come back at once
        if bar is not None and wait:
            bar.set_postfix_str(f"{trouble}; again in {wait:.0f} s")
        policy.sleep(wait)


@contextmanager
def _answer(url: str, headers: Mapping[str, str]) -> Iterator[Response]:
    """A good answer to one request, its body still to be read; a failure that may pass is
    `_AgainError`.
    """
    import requests
    from requests import exceptions

    # Compressed on the way, a file would have other sizes than announced.
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
    try:
        with requests.get(
            url, headers=headers, stream=True, timeout=(policy.connect, policy.stall)
        ) as response:
            _check_status(url, response)
            yield response
    except exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise _AgainError(f"the secure connection broke: {error}") from error
        raise SourceError(
            f"{url} shows a certificate that is not trusted here: {error}.",
            "Behind an institute's own certificates, name them in REQUESTS_CA_BUNDLE.",
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
    if isinstance(
        cause, exceptions.NewConnectionError
    ):  # a name that is not known here, or nobody at the address
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
        wait = _asked_wait(response)
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


def _asked_wait(response: Response) -> float | None:
    """Seconds that an answer asks to wait, by ``Retry-After`` or else by when its limit is reset."""
    from email.utils import parsedate_to_datetime

    given = response.headers.get("Retry-After", "").strip()
    now = datetime.now(timezone.utc).timestamp()
    with suppress(ValueError, OverflowError):
        if given:
            until = (
                now + int(given) if given.isdecimal() else parsedate_to_datetime(given).timestamp()
            )
        else:
            until = (
                float(response.headers["X-RateLimit-Reset"])
                if "X-RateLimit-Reset" in response.headers
                else now
            )
        return max(0.0, until - now) or None
    return None


def _length(response: Response) -> int | None:
    """Bytes that an answer announces, unless they are packed."""
    length = response.headers.get("Content-Length", "")
    plain = response.headers.get("Content-Encoding", "identity") == "identity"
    return int(length) if length.isdecimal() and plain else None


def _validator(response: Response) -> str:
    """What identifies the file of an answer byte by byte: its ETag, or else its date; empty where
    neither does.
    """
    tag = str(response.headers.get("ETag", ""))
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return ""
    return tag if tag.startswith('"') else str(response.headers.get("Last-Modified", ""))


def _refuse_page(url: str, response: Response, body: bytes) -> None:
    """Say so where a web page came in place of what was asked for: a login, a proxy's notice, a
    server's excuse.
    """
    if not body.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return
    title = TITLE.search(body)
    named = (
        html.unescape(" ".join(title[1].decode(errors="replace").split()))[:100]
        if title
        else "without a title"
    )
    where = f" from {response.url}" if response.url != url else ""
    raise SourceError(
        f"{url} answers with a web page{where}: {named}.",
        "A proxy or a login page may answer instead: open the address in a browser.",
    )


def _show(bar: tqdm[Any], arrived: int, total: int | None) -> None:
    """Set a bar to what has arrived; its rate counts what comes from now on."""
    if not bar.disable:
        bar.total, bar.initial, bar.n, bar.last_print_n = total, arrived, arrived, arrived
        bar.start_t = bar.last_print_t = time.time()
        bar.set_postfix_str("")
