"""The HTTP client: whatever a server or a line does, a download ends in the right bytes or in an error that says why."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zenodo_server
from conftest import Zenodo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zenodo_server import (
    RECORDS,
    Fault,
    File,
    ZenodoServer,
    drip,
    ignore_range,
    page,
    redirect,
    reset,
    stall,
    status,
    truncate,
)

from medzoo.errors import IntegrityError, SourceError
from medzoo.files import sha256_of
from medzoo.packages import http

CONTENT = random.Random(0).randbytes(200_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
PATH = "/files/model.zip"


@pytest.fixture
def url(zenodo: Zenodo) -> str:
    """Where the server has CONTENT."""
    zenodo.elsewhere[PATH] = File(CONTENT)
    return zenodo.url + PATH


def download(
    url: str, folder: Path, digest: str = SHA256, size: int | None = None, **more: Any
) -> bytes:
    get = http.Download(digest, size, **more)
    get(url, str(folder / "file"))
    get.forget()
    assert [p.name for p in folder.iterdir()] == ["file"]  # nothing partial beside it
    return (folder / "file").read_bytes()


def ranges(zenodo: ZenodoServer) -> list[str | None]:
    """The part of the file that each request asked for."""
    return [s.headers.get("Range") for s in zenodo.seen(PATH)]


# ---------------------------------------------------------------------------------------------------------- one request
def test_a_file_arrives_by_one_get_that_says_who_asks(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    assert download(url, folder) == CONTENT
    (seen,) = zenodo.log
    assert (seen.method, seen.status, seen.sent) == ("GET", 200, len(CONTENT))
    assert seen.headers["User-Agent"].startswith("medzoo/")
    assert "(+https://" in seen.headers["User-Agent"]
    assert not {"Range", "If-Range", "Authorization"} & set(seen.headers)
    assert zenodo.waited == []


def test_json_arrives(zenodo: Zenodo) -> None:
    zenodo.publish(7, {"a b.zip": b"x"})
    answer = http.get_json(f"{zenodo.url}/api/records/7")
    assert answer["files"][0]["key"] == "a b.zip"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (status(404), "There is nothing at"),
        (status(410), "There is nothing at"),
        (status(403), "does not give the file: it answers 403 Forbidden"),
        (
            page("Institute login"),
            "answers with a web page: Institute login.\nA proxy or a login page may answer instead",
        ),
        (Fault(200, body=b'{"half": '), r"does not answer with JSON, but with b'{\"half\": '"),
        (status(429, retry_after=7200), "asks clients to wait 120 minutes"),
    ],
    ids=["404", "410", "403", "page", "json", "429"],
)
def test_what_will_not_pass_is_said_at_once(zenodo: Zenodo, fault: Fault, expected: str) -> None:
    zenodo.publish(7, {"a.zip": b"x"})
    zenodo.fault(fault, on=RECORDS)
    with pytest.raises(SourceError, match=expected):
        http.get_json(f"{zenodo.url}/api/records/7")
    assert len(zenodo.log) == 1
    assert zenodo.waited == []


@pytest.mark.parametrize(
    "fault", [status(429), status(503), status(500), status(502), reset(0), truncate(5), stall(3)]
)
def test_what_may_pass_is_tried_again(zenodo: Zenodo, fault: Fault) -> None:
    zenodo.publish(7, {"a.zip": b"x"})
    zenodo.fault(fault, fault, on=RECORDS)
    assert http.get_json(f"{zenodo.url}/api/records/7")["id"] == 7
    assert len(zenodo.log) == 3


def test_a_server_that_never_recovers_is_given_up_with_growing_pauses(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    zenodo.fault(*[status(500)] * 20)
    with pytest.raises(
        SourceError,
        match=r"failed 7 times in a row: it answers 500 Internal Server Error.\nTry again later",
    ):
        download(url, tmp_path)
    assert len(zenodo.log) == http.policy.attempts
    assert [round(np.log2(w / http.policy.pause) - 0.3) for w in zenodo.waited] in (
        [0, 1, 2, 3, 4, 5],
        [1, 1, 2, 3, 4, 5],
    )
    assert len(set(zenodo.waited)) == 6  # jitter
    assert all(2**k <= w / http.policy.pause <= 2**k + 1 for k, w in enumerate(zenodo.waited))


def test_nobody_there_is_said_soon(zenodo: Zenodo, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(
        SourceError, match=r"failed 3 times in a row: .*refused.\nIs there a network, or a proxy"
    ):
        download(nowhere, tmp_path)
    assert len(zenodo.waited) == 2


def test_a_proxy_that_is_not_there_is_named(
    zenodo: Zenodo, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(SourceError, match="the proxy does not forward it"):
        download(url, tmp_path)
    assert zenodo.log == []


def test_nothing_is_asked_of_the_random_numbers_of_others(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    before = random.getstate(), str(np.random.get_state())  # noqa: NPY002
    zenodo.fault(status(500))
    (tmp_path / "new").mkdir()
    download(url, tmp_path / "new")
    assert (random.getstate(), str(np.random.get_state())) == before  # noqa: NPY002


# ------------------------------------------------------------------------------------------------- asked to wait a while
@pytest.mark.parametrize("code", [429, 503])
def test_the_wait_that_a_server_asks_for_is_kept(
    zenodo: Zenodo, url: str, tmp_path: Path, code: int
) -> None:
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=100), usegmt=True)
    at = str(int(time.time()) + 50)
    zenodo.fault(
        status(code, retry_after=20),
        status(code, retry_after=date),
        status(code, X_RateLimit_Reset=at),
    )
    (tmp_path / "new").mkdir()
    assert download(url, tmp_path / "new") == CONTENT
    assert [round(w, -1) for w in zenodo.waited] == [20, 100, 50]
    assert zenodo.waited[0] >= 20


def test_a_real_second_is_waited(
    zenodo: Zenodo, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        http, "policy", dataclasses.replace(http.policy, sleep=time.sleep, pause=0.01)
    )
    zenodo.fault(status(429, retry_after=1))
    (tmp_path / "new").mkdir()
    began = time.monotonic()
    download(url, tmp_path / "new")
    assert 1 <= time.monotonic() - began < 10


@pytest.mark.parametrize("code", [500, 502])
def test_retry_after_means_nothing_beside_other_statuses(
    zenodo: Zenodo, url: str, tmp_path: Path, code: int
) -> None:
    zenodo.fault(status(code, retry_after=250), Fault(headers={"Retry-After": "250"}))
    (tmp_path / "new").mkdir()
    download(url, tmp_path / "new")
    assert all(w < 2 for w in zenodo.waited)


@pytest.mark.parametrize("given", ["soon", "-5", "Wed, 99 Foo 2022", "9" * 400, "", "0"])
def test_a_wait_that_is_none_is_a_pause_like_any_other(
    zenodo: Zenodo, url: str, tmp_path: Path, given: str
) -> None:
    zenodo.fault(status(429, retry_after=given))
    (tmp_path / "new").mkdir()
    assert download(url, tmp_path / "new") == CONTENT
    assert len(zenodo.waited) == 1
    assert zenodo.waited[0] <= 2 * http.policy.pause


# -------------------------------------------------------------------------------------------------------------- going on
@pytest.mark.parametrize("cut", [truncate, reset, stall])
@pytest.mark.parametrize("validator", ["etag", "date", "weak"])
def test_a_line_that_breaks_goes_on_where_it_stopped(
    zenodo: Zenodo, url: str, tmp_path: Path, cut: Any, validator: str
) -> None:
    zenodo.elsewhere[PATH].validator = validator
    zenodo.fault(cut(70_000))
    (tmp_path / "new").mkdir()
    assert download(url, tmp_path / "new") == CONTENT
    _, rest = zenodo.seen(PATH)
    assert rest.status == 206
    assert rest.headers["If-Range"] in zenodo.elsewhere[PATH].headers().values()
    start = int(rest.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 70_000
    assert rest.sent == len(CONTENT) - start


def test_a_line_that_ends_early_without_an_announced_size_goes_on_too(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    zenodo.fault(Fault(after=70_000, end="close", headers={"Content-Length": ""}))
    (tmp_path / "new").mkdir()
    assert download(url, tmp_path / "new", size=len(CONTENT)) == CONTENT
    assert [s.status for s in zenodo.log] == [200, 206]


def test_another_process_goes_on_where_one_stopped(
    zenodo: Zenodo, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(http, "policy", dataclasses.replace(http.policy, attempts=1, gain=10**9))
        zenodo.fault(truncate(150_000))
        with pytest.raises(SourceError, match=r"answer ends after|connection broke"):
            download(url, tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".part", ".json"}
    note = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert note == {
        "url": url,
        "digest": SHA256,
        "size": len(CONTENT),
        "validator": zenodo.elsewhere[PATH].headers()["ETag"],
    }
    assert download(url, tmp_path) == CONTENT
    assert zenodo.log[-1].status == 206
    assert zenodo.log[-1].sent <= len(CONTENT) - 150_000 + http.policy.chunk


def leave(
    folder: Path,
    address: str,
    zenodo: ZenodoServer,
    head: bytes = CONTENT[:150_000],
    **changes: Any,
) -> None:
    """What a killed process leaves."""
    part = folder / f"model.zip.{hashlib.sha256(address.encode()).hexdigest()[:8]}.part"
    part.write_bytes(head)
    about = {
        "url": address,
        "digest": SHA256,
        "size": len(CONTENT),
        "validator": zenodo.elsewhere[PATH].headers().get("ETag"),
    }
    note = part.with_name(f"{part.name}.json")
    note.write_text(json.dumps(about | changes))


def test_only_the_rest_is_asked_for(zenodo: Zenodo, url: str, tmp_path: Path) -> None:
    leave(tmp_path, url, zenodo)
    assert download(url, tmp_path) == CONTENT
    assert (ranges(zenodo), zenodo.log[0].sent) == (["bytes=150000-"], 50_000)


def test_what_was_whole_is_not_asked_for_at_all(zenodo: Zenodo, url: str, tmp_path: Path) -> None:
    leave(tmp_path, url, zenodo, CONTENT)  # killed between the last byte and the new name
    assert download(url, tmp_path) == CONTENT
    assert zenodo.log == []


def test_killed_before_the_file_has_its_name_nothing_is_lost(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    http.Download(SHA256)(url, str(tmp_path / "tmp1"))  # and no more
    (tmp_path / "tmp1").unlink()
    assert download(url, tmp_path) == CONTENT
    assert len(zenodo.log) == 1


@pytest.mark.parametrize(
    "changes",
    [{"url": "http://elsewhere/x"}, {"digest": "sha256:" + "0" * 64}, {"validator": '"md5:other"'}],
    ids=["address", "digest", "content"],
)
def test_the_head_of_another_file_is_not_gone_on_with(
    zenodo: Zenodo, url: str, tmp_path: Path, changes: dict[str, str]
) -> None:
    leave(tmp_path, url, zenodo, bytes(150_000), **changes)
    assert download(url, tmp_path) == CONTENT
    assert [s.sent for s in zenodo.log] == [len(CONTENT)]


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '{"url": 1}', "\0"])
def test_a_note_that_makes_no_sense_is_ignored(
    zenodo: Zenodo, url: str, tmp_path: Path, note: str
) -> None:
    leave(tmp_path, url, zenodo, bytes(150_000))
    next(tmp_path.glob("*.json")).write_text(note)
    assert download(url, tmp_path) == CONTENT
    assert ranges(zenodo) == [None]


@pytest.mark.parametrize(
    "head", [bytes(150_000), CONTENT + b"more", CONTENT[:-1] + b"?"], ids=["holes", "longer", "end"]
)
def test_a_damaged_head_costs_a_second_download_and_no_more(
    zenodo: Zenodo, url: str, tmp_path: Path, head: bytes
) -> None:
    leave(tmp_path, url, zenodo, head)
    assert download(url, tmp_path) == CONTENT
    assert [s.sent for s in zenodo.log if s.status == 200] == [len(CONTENT)]


def test_a_server_that_ignores_range_is_followed(zenodo: Zenodo, url: str, tmp_path: Path) -> None:
    leave(tmp_path, url, zenodo, CONTENT[:100] + bytes(1000))
    zenodo.fault(ignore_range())
    assert download(url, tmp_path) == CONTENT
    assert [s.status for s in zenodo.log] == [200]


def test_a_file_that_changes_between_two_requests_is_not_put_together(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    other = CONTENT[::-1]
    zenodo.fault(truncate(100_000))
    leave(tmp_path, url, zenodo, CONTENT[:50_000])

    def replaced(_: float) -> None:
        zenodo.elsewhere[PATH] = File(other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http, "policy", dataclasses.replace(http.policy, sleep=replaced))
        with pytest.raises(
            IntegrityError,
            match=f"expected {SHA256[7:]}\n  found    {hashlib.sha256(other).hexdigest()}",
        ):
            download(url, tmp_path)
    assert list(tmp_path.glob("*.part*")) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 7-199999/200000"},
        {"Content-Range": "pages 1-2/3"},
        {"Content-Range": "bytes 150000-199999/3"},
        {"ETag": '"md5:other"'},
    ],
    ids=["start", "unit", "size", "tag"],
)
def test_a_part_that_was_not_asked_for_is_not_taken(
    zenodo: Zenodo, url: str, tmp_path: Path, headers: dict[str, str]
) -> None:
    leave(tmp_path, url, zenodo)
    zenodo.fault(Fault(headers=headers))
    assert download(url, tmp_path) == CONTENT
    assert ranges(zenodo) == ["bytes=150000-", None]


def test_without_a_validator_it_begins_anew(zenodo: Zenodo, url: str, tmp_path: Path) -> None:
    zenodo.elsewhere[PATH].validator = "none"
    zenodo.fault(truncate(150_000))
    (tmp_path / "new").mkdir()
    assert download(url, tmp_path / "new") == CONTENT
    assert ranges(zenodo) == [None, None]


def test_a_process_that_is_not_alone_leaves_the_partial_file_to_the_other(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    leave(tmp_path, url, zenodo)
    others = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    get = http.Download(SHA256, alone=False)
    get(url, str(tmp_path / "file"))
    get.forget()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == others | {"file": CONTENT}
    assert ranges(zenodo) == [None]


LINE = st.lists(
    st.one_of(
        st.builds(truncate, st.integers(0, 3000)),
        st.builds(reset, st.integers(0, 3000)),
        st.builds(lambda at: Fault(after=at, end="close", ranges=False), st.integers(0, 3000)),
        st.sampled_from(
            [status(429), status(503, retry_after=1), status(500), status(416), ignore_range()]
        ),
    ),
    max_size=8,
)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    line=LINE,
    validator=st.sampled_from(["etag", "date", "weak", "none"]),
    seed=st.integers(0, 9),
    left=st.integers(0, 3000),
)
def test_whatever_the_line_does_the_right_bytes_arrive(
    zenodo: Zenodo,
    tmp_path_factory: pytest.TempPathFactory,
    line: list[Fault],
    validator: str,
    seed: int,
    left: int,
) -> None:
    content, folder = random.Random(seed).randbytes(3000), tmp_path_factory.mktemp("line")
    digest = "md5:" + hashlib.md5(content).hexdigest()
    zenodo.elsewhere[PATH] = File(content, validator=validator)
    url = zenodo.url + PATH
    leave(folder, url, zenodo, content[:left], digest=digest, size=3000)
    if validator != "etag":
        next(folder.glob("*.json")).unlink()
    zenodo.log.clear()
    zenodo._faults.clear()
    zenodo.fault(*line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http, "policy", dataclasses.replace(http.policy, chunk=256, attempts=10))
        assert download(url, folder, digest, 3000) == content
    assert len(zenodo.log) <= len(line) + 2


# ----------------------------------------------------------------------------------------------------- what is no such file
@pytest.mark.parametrize("announced", [100, 200_001])
def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    zenodo: Zenodo, url: str, tmp_path: Path, announced: int
) -> None:
    with pytest.raises(
        IntegrityError, match=f"expected {announced:,} bytes\n  found    200,000 bytes"
    ):
        download(url, tmp_path, size=announced)
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"] or list(tmp_path.iterdir()) == []


def test_a_file_of_another_digest_leaves_nothing(zenodo: Zenodo, url: str, tmp_path: Path) -> None:
    (folder := tmp_path / "new").mkdir()
    with pytest.raises(
        IntegrityError,
        match=r"gives another file than the registered one.\n  expected 0{64}\n  found    ",
    ):
        download(url, folder, "sha256:" + "0" * 64)
    assert list(folder.iterdir()) == []
    assert len(zenodo.log) == 1


def test_without_a_digest_the_bytes_are_taken_as_they_come(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    (folder := tmp_path / "new").mkdir()
    assert download(url, folder, "") == CONTENT


def test_a_web_page_in_place_of_a_file_is_said(zenodo: Zenodo, url: str, tmp_path: Path) -> None:
    for size in (None, len(CONTENT)):
        zenodo.fault(page("Sign in &amp; agree"))
        with pytest.raises(SourceError, match=r"answers with a web page: Sign in & agree\."):
            download(url, tmp_path, size=size)
    zenodo.fault(redirect("/login"))
    zenodo.fault(page("Portal"), on="/login")
    with pytest.raises(
        SourceError, match=r"answers with a web page from http://127.0.0.1:\d+/login: Portal"
    ):
        download(url, tmp_path)


def test_a_redirect_is_followed(zenodo: Zenodo, url: str, tmp_path: Path) -> None:
    zenodo.elsewhere["/bucket/x"] = File(CONTENT)
    zenodo.fault(redirect("/bucket/x"))
    (folder := tmp_path / "new").mkdir()
    assert download(url, folder) == CONTENT
    assert [s.path for s in zenodo.log] == [PATH, "/bucket/x"]


def test_a_slow_line_is_waited_for_while_it_moves(zenodo: Zenodo, url: str, tmp_path: Path) -> None:
    zenodo.elsewhere[PATH] = File(CONTENT[:2000])
    zenodo.fault(drip(200, 0.1))
    (folder := tmp_path / "new").mkdir()
    download(
        url, folder, "sha256:" + hashlib.sha256(CONTENT[:2000]).hexdigest()
    )  # a second, with a stall time-out of half
    assert len(zenodo.log) == 1


def test_more_than_was_announced_is_not_written_on_and_on(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    zenodo.fault(Fault(200, {"Content-Length": ""}, CONTENT))  # of no announced size
    zenodo.fault()
    (folder := tmp_path / "new").mkdir()
    with pytest.raises(IntegrityError, match="expected 1,000 bytes\n  found    more"):
        download(url, folder, size=1000)
    assert list(folder.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------- the disk
def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    zenodo.fault(Fault(headers={"Content-Length": str(2**60)}))
    (folder := tmp_path / "new").mkdir()
    with pytest.raises(
        OSError, match=r"1,152,921,504,606,846,976 bytes are needed and [\d,]+ are free"
    ):
        download(url, folder)
    assert sum(p.stat().st_size for p in folder.iterdir()) < 1000


SMALL_DISK = """
import resource, signal, sys
from medzoo.packages import http
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))
try:
    http.Download(sys.argv[3])(sys.argv[1], sys.argv[2])
except OSError as error:
    print(type(error).__name__, error.errno)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_a_disk_that_fills_up_keeps_what_has_arrived(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    (folder := tmp_path / "new").mkdir()
    script = [sys.executable, "-c", SMALL_DISK, url, str(folder / "file"), SHA256]
    found = subprocess.run(script, capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == ["OSError", "27"]
    assert download(url, folder) == CONTENT  # with room again, it goes on
    assert zenodo.log[-1].status == 206


# ----------------------------------------------------------------------------------------------------------- what one sees
def test_a_bar_shows_rate_and_remaining_time_and_begins_where_the_last_one_ended(
    zenodo: Zenodo, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(tmp_path, url, zenodo)
    zenodo.fault(status(429, retry_after=9), drip(10_000, 0.1))
    download(url, tmp_path, progress=True)
    shown = capsys.readouterr().err
    assert "model.zip:" in shown
    assert "200k/200k" in shown
    assert "B/s" in shown
    assert "<00:0" in shown  # remaining
    assert "it answers 429 Too Many Requests; again in 9 s" in shown
    assert " 75%" in shown
    assert " 0%" not in shown.split("again in")[1]


def test_without_a_bar_nothing_is_shown(
    zenodo: Zenodo, url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder := tmp_path / "new").mkdir()
    zenodo.fault(truncate(1000))
    download(url, folder)
    assert capfd.readouterr() == ("", "")


# -------------------------------------------------------------------------------------------------------- secure lines
@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed, and its key."""
    return zenodo_server.certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(certificate: tuple[Path, Path], zenodo: Zenodo) -> Iterator[ZenodoServer]:
    """A server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with ZenodoServer(context) as server:
        server.elsewhere[PATH] = File(CONTENT)
        yield server


def test_a_certificate_that_nobody_knows_is_refused_with_the_way_to_name_it(
    secure: ZenodoServer, tmp_path: Path
) -> None:
    with pytest.raises(
        SourceError, match=r"certificate that is not trusted here(.|\n)*REQUESTS_CA_BUNDLE"
    ):
        download(secure.url + PATH, tmp_path)
    assert secure.log == []


def test_a_certificate_of_an_institute_can_be_named(
    secure: ZenodoServer,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    (folder := tmp_path / "new").mkdir()
    secure.fault(reset(60_000))
    assert download(secure.url + PATH, folder) == CONTENT


def test_a_secure_address_that_leads_to_an_open_one_is_refused(
    secure: ZenodoServer,
    zenodo: Zenodo,
    url: str,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    secure.fault(redirect(url))
    with pytest.raises(SourceError, match="redirects to an address that is not secure: http:"):
        download(secure.url + PATH, tmp_path)


def test_the_bytes_on_the_disk_are_those_of_the_digest(
    zenodo: Zenodo, url: str, tmp_path: Path
) -> None:
    (folder := tmp_path / "new").mkdir()
    download(url, folder)
    assert f"sha256:{sha256_of(folder / 'file')}" == SHA256
