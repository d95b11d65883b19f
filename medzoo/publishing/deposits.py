"""Zenodo's deposit API: drafts, their files and metadata, publication, new versions.

A request is sent again after an error only if it may be sent twice. A 429 is always obeyed, because
the request was not carried out.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from .. import settings
from ..errors import ContributionError
from ..packages import http
from .tokens import Token

if TYPE_CHECKING:
    from requests import PreparedRequest, Response
    from tqdm import tqdm

API = "/api/deposit/depositions"
LISTED = 100  # most recent deposits in which a lost draft is looked for
SLOW = 20  # the factor by which Zenodo may be slower after a large file
CONTINUES = "Nothing was published. The draft is kept, and the same command continues it."
UNSURE = (
    "It is not known whether the draft was published. The same command finds out, and publishes "
    "nothing twice."
)


class MissingError(ContributionError):
    """Zenodo has no such deposit, or it belongs to another account."""


class Zenodo:
    """A Zenodo, for one user.

    Parameters
    ----------
    url
        Its address, without a slash at the end.
    token
        The user's token. It is sent only to this address, and only over a secure connection.

    Raises
    ------
    ContributionError
        The address is not secure.
    """

    def __init__(self, url: str, token: Token) -> None:
        import requests

        host = urlsplit(url).hostname
        if not url.startswith("https://") and host not in {"127.0.0.1", "::1", "localhost"}:
            raise ContributionError(
                f"{url} is not secure, so no token is sent there.", "Give an https:// address."
            )
        self.url, self.token = url, token
        self._session = requests.Session()
        self._session.verify = settings.certificates() or True

    def create(self) -> dict[str, Any]:
        """A new, empty draft."""
        return self._object("POST", self.url + API, body={}, what="create a draft")

    def get(self, number: int) -> dict[str, Any]:
        """A deposit, draft or published.

        Raises
        ------
        MissingError
            There is none.
        """
        return self._object("GET", f"{self.url}{API}/{number}", what=f"read deposit {number}")

    def recent(self) -> list[dict[str, Any]]:
        """The user's most recent deposits."""
        address = f"{self.url}{API}?sort=mostrecent&size={LISTED}"
        answer = self._json("GET", address, what="list your deposits")
        listed = answer if isinstance(answer, list) else []
        return [deposit for deposit in listed if isinstance(deposit, dict)]

    def new_version(self, record: int) -> dict[str, Any]:
        """The draft of the next version of a published record; an existing one if there is one."""
        what = f"make a new version of record {record}"
        answer = self._object(
            "POST", f"{self.url}{API}/{record}/actions/newversion", what=what, twice=True
        )
        draft = str((answer.get("links") or {}).get("latest_draft", ""))
        number = draft.rstrip("/").rpartition("/")[2]
        if not number.isdecimal():
            raise self._strange(what, answer)
        return self.get(int(number))

    def describe(self, number: int, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Set the metadata of a draft."""
        return self._object(
            "PUT", f"{self.url}{API}/{number}", body={"metadata": metadata}, what="set the metadata"
        )

    def remove_file(self, number: int, file: Mapping[str, Any]) -> None:
        """Remove a file from a draft."""
        address = f"{self.url}{API}/{number}/files/{file['id']}"
        self._json("DELETE", address, what="remove a file of the draft")

    def send_file(self, bucket: str, path: Path, name: str, *, progress: bool) -> str:
        """Stream a file into a draft.

        Returns
        -------
        str
            The md5 of what Zenodo received, as Zenodo states it.
        """
        if urlsplit(bucket).netloc != urlsplit(self.url).netloc:
            raise ContributionError(
                f"{self.url} wants the file sent to another host: {bucket}.", "Nothing was sent."
            )
        bar_class = settings.progress_bar()
        with bar_class(
            desc=name,
            total=path.stat().st_size,
            unit="B",
            unit_scale=True,
            unit_divisor=1000,
            disable=not progress,
        ) as bar:
            answer = self._object(
                "PUT",
                f"{bucket}/{quote(name)}",
                stream=lambda: _opened(path, bar),
                what=f"receive {name}",
            )
        return str(answer.get("checksum", "")).removeprefix("md5:").lower()

    def publish(self, number: int) -> dict[str, Any]:
        """Publish a draft, once: after any trouble, Zenodo is asked whether it was published."""
        what = f"publish draft {number}"
        address = f"{self.url}{API}/{number}/actions/publish"
        try:
            return self._object("POST", address, what=what, after_trouble=UNSURE)
        except ContributionError as trouble:
            try:
                deposit = self.get(number)
            except ContributionError:
                raise trouble from None
            if not deposit.get("submitted"):
                raise
            return deposit

    # ---------------------------------------------------------------------------------------------
    def _object(self, method: str, url: str, *, what: str, **how: Any) -> dict[str, Any]:
        answer = self._json(method, url, what=what, **how)
        if not isinstance(answer, dict):
            raise self._strange(what, answer, how.get("after_trouble", CONTINUES))
        return answer

    def _strange(
        self, what: str, answer: object, after_trouble: str = CONTINUES
    ) -> ContributionError:
        shown = self.token.hide(repr(answer))[:200]
        return ContributionError(
            f"{self.url} was asked to {what}, and its answer is not understood: {shown}.",
            after_trouble,
        )

    def _json(
        self,
        method: str,
        url: str,
        *,
        what: str,
        body: Any = None,
        stream: Callable[[], Any] | None = None,
        twice: bool = False,
        after_trouble: str = CONTINUES,
    ) -> Any:
        """The JSON of an answer; None if it is empty.

        Parameters
        ----------
        what
            What Zenodo is asked to do, for messages.
        body, stream
            What is sent: JSON, or what opens a file, again for each attempt.
        twice
            Whether a POST may be carried out twice.
        after_trouble
            What an error says of the state of the draft, when a POST may have been carried out.
        """
        from requests import RequestException

        may_repeat = twice or method != "POST"
        failures = 0
        while True:
            wait = None
            try:
                with self._sent(method, url, body, stream) as response:
                    if response.ok:
                        return self._parsed(response, what, after_trouble)
                    trouble = f"it answers {response.status_code} {response.reason or ''}".strip()
                    if response.status_code == 429:
                        wait = self._wait(response, what)
                    elif response.status_code < 500 or not may_repeat:
                        raise self._refusal(response, what, after_trouble)
            except RequestException as error:
                trouble = f"the connection broke ({type(error).__name__})"
                if not may_repeat:
                    raise ContributionError(
                        f"{self.url} was asked to {what}, and {trouble}.", after_trouble
                    ) from None
            failures += 1
            if failures >= http.policy.attempts:
                raise ContributionError(
                    f"{self.url} was asked {failures} times to {what}: {trouble}.", CONTINUES
                )
            pause = http.policy.pause * 2 ** (failures - 1) if wait is None else wait
            http.policy.sleep(pause + http.policy.pause * secrets.randbelow(1000) / 1000)

    @contextmanager
    def _sent(
        self, method: str, url: str, body: Any, stream: Callable[[], Any] | None
    ) -> Iterator[Response]:
        patience = http.policy.stall * (SLOW if stream else 2)
        headers = {"User-Agent": http.USER_AGENT, "Accept": "application/json"}
        data = stream() if stream else None
        try:
            with self._session.request(
                method,
                url,
                json=body,
                data=data,
                headers=headers,
                auth=self._authorize,  # and so not what a .netrc says
                timeout=(http.policy.connect, patience),
                allow_redirects=False,
            ) as response:
                yield response
        finally:
            if data is not None:
                data.close()

    def _authorize(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token.value}"
        return request

    def _parsed(self, response: Response, what: str, after_trouble: str) -> Any:
        if 300 <= response.status_code < 400:
            raise self._strange(what, f"a redirection to {response.headers.get('Location')}")
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise self._strange(what, response.text[:200], after_trouble) from None

    def _wait(self, response: Response, what: str) -> float | None:
        wait = http.asked_wait(response)
        if wait is not None and wait > http.policy.patience:
            raise ContributionError(
                f"{self.url} was asked to {what}; it asks clients to wait {wait / 60:.0f} minutes.",
                CONTINUES,
            )
        return wait

    def _refusal(self, response: Response, what: str, after_trouble: str) -> ContributionError:
        """The error for an answer that another attempt does not change."""
        status, service = response.status_code, self.token.service
        message = self.token.hide(_message(response))
        problem = f"{self.url} was asked to {what} and answers {status}"
        problem += f": {message}." if message else "."
        if status == 401:
            problem = f"{self.url} does not accept the token in {service.variable} (401)."
            hint = (
                "It has expired, was deleted or is of another site; Zenodo and its sandbox have "
                f"separate tokens. {service.hint}"
            )
            return ContributionError(problem, hint)
        if status == 403:
            hint = (
                f"The token in {service.variable} lacks a scope, or the record belongs to another "
                f"account. {service.hint}"
            )
            return ContributionError(problem, hint)
        if status in {404, 410}:
            return MissingError(problem, "Is the number right, and does the record belong to you?")
        hints = {
            400: "Correct what it names in the config or the card, and run the same command again.",
            409: "Is the draft open in a browser, or is another upload running? Run the same "
            f"command again in a minute. {CONTINUES}",
            413: "Zenodo takes 50 GB for each record. Make the package smaller, or ask its support "
            "for more.",
        }
        return ContributionError(problem, hints.get(status, after_trouble))


class _Body:
    """A file that is sent and moves a bar. `requests` takes its length from ``__len__``."""

    def __init__(self, path: Path, bar: tqdm[Any]) -> None:
        self._file, self._size, self._bar = path.open("rb"), path.stat().st_size, bar
        self.close = self._file.close

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(http.policy.chunk):
            yield block

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        block = self._file.read(size)
        self._bar.update(len(block))
        return block


def _opened(path: Path, bar: tqdm[Any]) -> _Body:
    bar.reset()
    return _Body(path, bar)


def _message(response: Response) -> str:
    """What Zenodo says about an error, with the fields that it names."""
    try:
        content = json.loads(response.content[: 2**16])
    except ValueError:
        return ""
    if not isinstance(content, dict):
        return ""
    parts = [str(content.get("message", "")).rstrip(". ")]
    for error in content.get("errors") or []:
        if isinstance(error, dict):
            said = error.get("message") or "; ".join(map(str, error.get("messages") or []))
            parts.append(f"{error.get('field', 'error')}: {said}".rstrip(". "))
    return "; ".join(filter(None, parts))[:500]


def files_of(deposit: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The files of a deposit by name, each with ``id``, ``filename`` and ``checksum``."""
    files = {}
    for file in deposit.get("files") or []:
        files[str(file.get("filename") or file.get("key"))] = file
    return files


def md5_of(file: Mapping[str, Any]) -> str:
    """The md5 that Zenodo states for a file."""
    return str(file.get("checksum", "")).removeprefix("md5:").lower()


def doi_of(deposit: Mapping[str, Any]) -> str:
    """The DOI of a deposit: reserved for a draft."""
    metadata = deposit.get("metadata") or {}
    reserved = metadata.get("prereserve_doi") or {}
    return str(deposit.get("doi") or metadata.get("doi") or reserved.get("doi") or "")
