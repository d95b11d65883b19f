"""Archives from a network: the cache first, one digest whatever the address, one download among many processes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import unquote

import pytest
from conftest import NUMPY_MODEL, Zenodo
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from zenodo_server import (
    FILES,
    RECORDS,
    File,
    ZenodoServer,
    certificate,
    drip,
    page,
    redirect,
    stall,
    status,
    truncate,
    zipped,
)

import medzoo
from medzoo.cli import main
from medzoo.errors import IntegrityError, MedzooWarning, SourceError, TrustError
from medzoo.files import sha256_of
from medzoo.packages import cache, digests, download, http, sources, store
from medzoo.packages import zenodo as records
from medzoo.registry import resolve

MODEL = {"toy/model.py": NUMPY_MODEL.encode()}
ARCHIVE = zipped(MODEL)
OTHER = zipped({"toy/model.py": b"import os"})
Toy = Callable[..., int]


def fetched(number: int = 901, **options: Any) -> store.Package:
    return store.package(resolve(number), resolve(number).default, **options)


def of(content: bytes, kind: str = "sha256") -> str:
    return hashlib.new(kind, content).hexdigest()


def downloads(tmp_path: Path) -> list[Path]:
    """The files of the download folder, whole or not."""
    return [p for p in (tmp_path / "cache/downloads").rglob("*") if p.is_file()]


@pytest.fixture
def no_network(zenodo: Zenodo, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, each socket that is opened is a failure."""

    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    def cut() -> None:
        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    return cut


# ---------------------------------------------------------------------------------------------------------- the usual way
@pytest.mark.parametrize("digest", ["sha256", "md5", ""])
def test_a_package_is_downloaded_once_and_then_found_without_a_socket(
    zenodo: Zenodo, tmp_path: Path, no_network: Callable[[], None], digest: str
) -> None:
    zenodo.register(digest=digest)
    package = fetched()
    assert (package.path / "model.py").read_text().lstrip() == NUMPY_MODEL.lstrip()
    assert package.digests == {"package.zip": of(ARCHIVE)}
    assert [(s.method, s.path) for s in zenodo.log] == [
        ("GET", "/api/records/7000001"),
        ("GET", "/api/records/7000001/files/package.zip/content"),
    ]
    key = of(ARCHIVE, digest or "md5")[:16]
    assert downloads(tmp_path) == [
        tmp_path / f"cache/downloads/00901_TOY_MRI_NOISE-{key}/package.zip"
    ]
    no_network()
    assert fetched() == package


def test_pooch_says_nothing_of_its_own(zenodo: Zenodo, capfd: pytest.CaptureFixture[str]) -> None:
    zenodo.register()
    fetched()
    assert capfd.readouterr() == ("", "")


def test_a_bar_is_drawn_when_asked_for(zenodo: Zenodo, capsys: pytest.CaptureFixture[str]) -> None:
    zenodo.register()
    fetched(progress=True)
    assert "package.zip: 100%" in capsys.readouterr().err


def test_a_download_that_stopped_goes_on_at_the_next_call(
    zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = random.Random(1).randbytes(300_000)
    zenodo.register({"toy/model.py": NUMPY_MODEL.encode(), "toy/weights.npz": content})
    with monkeypatch.context() as patch:
        patch.setattr(http, "policy", dataclasses.replace(http.policy, attempts=1, gain=10**9))
        zenodo.fault(truncate(200_000))
        with pytest.raises(SourceError, match="could not be fetched"):
            fetched()
    assert sorted(p.suffix for p in downloads(tmp_path)) == [".json", ".part"]
    assert (fetched().path / "weights.npz").read_bytes() == content
    assert zenodo.log[-1].status == 206
    assert [p.name for p in downloads(tmp_path)] == ["package.zip"]


def test_what_pooch_leaves_of_killed_processes_goes_with_the_next(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.register()
    folder = tmp_path / f"cache/downloads/00901_TOY_MRI_NOISE-{of(ARCHIVE)[:16]}"
    folder.mkdir(parents=True)
    (folder / "tmpbefore").touch()  # killed before the first byte
    whole = http.Download(
        f"sha256:{of(ARCHIVE)}"
    )  # killed after the last, before the file has its name
    whole(f"{zenodo.url}/api/records/7000001/files/package.zip/content", str(folder / "tmpafter"))
    before = len(zenodo.seen(FILES))
    fetched()
    assert [p.name for p in downloads(tmp_path)] == ["package.zip"]
    assert len(zenodo.seen(FILES)) == before


class Spoiled(http.Download):
    """A download whose shared file another process writes into, as without locks it might."""

    def __call__(self, url: str, output_file: str, pooch: object = None) -> None:
        super().__call__(url, output_file, pooch)
        if self.alone:
            Path(output_file).write_bytes(b"spoiled")


def test_a_file_that_is_spoiled_on_the_disk_is_fetched_again_under_a_name_of_its_own(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.elsewhere["/x/a.zip"] = File(ARCHIVE)
    download.retrieve(
        f"{zenodo.url}/x/a.zip", tmp_path / "new/a.zip", Spoiled(f"sha256:{of(ARCHIVE)}")
    )
    assert {p.name: p.read_bytes() for p in (tmp_path / "new").iterdir()} == {"a.zip": ARCHIVE}
    assert len(zenodo.log) == 2


def test_a_damaged_file_in_the_cache_is_fetched_anew(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.register()
    package = fetched()
    (path,) = downloads(tmp_path)
    path.write_bytes(ARCHIVE[:-1] + b"?")
    with pytest.warns(MedzooWarning, match="is damaged and will be downloaded again"):
        assert fetched() == package
    assert path.read_bytes() == ARCHIVE
    assert len(zenodo.seen(RECORDS)) == 1  # the record is known


def test_a_size_in_the_config_that_is_not_zenodos_is_an_error_before_the_download(
    zenodo: Zenodo,
) -> None:
    zenodo.register(size=5)
    with pytest.raises(IntegrityError, match=rf"expected 5 bytes\n  found    {len(ARCHIVE)} bytes"):
        fetched()
    assert zenodo.seen(FILES) == []


def test_a_cache_that_cannot_be_written_is_named(
    zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zenodo.register()
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(SourceError, match=r"could not be prepared: (.|\n)*MEDZOO_CACHE"):
        fetched()


def test_a_disk_without_room_is_named(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.register(digest="", size=2**60)
    zenodo.records[7000001].files["package.zip"].size = 2**60
    zenodo.fault(dataclasses.replace(drip(100, 0), headers={"Content-Length": str(2**60)}))
    full = r"disk of \S+cache is full \(1,152,921,504,606,846,976 bytes are needed and [\d,]+ are free\)(.|\n)*MEDZOO_CACHE"
    with pytest.raises(SourceError, match=full):
        fetched()
    assert sum(p.stat().st_size for p in downloads(tmp_path)) < 1000


# ----------------------------------------------------------------------------------------------------------- the record
@pytest.mark.parametrize("shape", ["record", "deposit", "rdm"])
def test_each_serializer_of_zenodo_is_understood(zenodo: Zenodo, shape: str) -> None:
    zenodo.register(digest="")
    zenodo.records[7000001].shape = shape
    assert fetched().digests == {"package.zip": of(ARCHIVE)}


def test_two_files_of_a_record_cost_one_question(zenodo: Zenodo) -> None:
    zenodo.publish(7000001, {"a.zip": b"a", "b.zip": b"b"})
    for name in ("a.zip", "b.zip"):
        known = records.known(f"7000001/{name}") or records.ask(f"7000001/{name}")
        assert known.md5 == of(name[:1].encode(), "md5")
    assert len(zenodo.log) == 1


def test_a_missing_file_is_named_together_with_those_there_are(zenodo: Zenodo) -> None:
    zenodo.register(source="zenodo:7000001/packag.zip")
    zenodo.records[7000001].files["notes.txt"] = File(b"")
    with pytest.raises(
        SourceError,
        match=r"record 7000001 has no file packag.zip(.|\n)*It has package.zip, notes.txt",
    ):
        fetched()


def test_a_closed_record_says_so(zenodo: Zenodo) -> None:
    zenodo.register()
    zenodo.records[7000001].files.clear()
    with pytest.raises(SourceError, match="It shows no files: it may be closed or embargoed"):
        fetched()


def test_a_concept_is_refused_and_its_newest_version_named(zenodo: Zenodo) -> None:
    zenodo.register(source="zenodo:7000000/package.zip")
    with pytest.raises(
        SourceError, match=r"record 7000000 covers all its versions(.|\n)*the newest is 7000001"
    ):
        fetched()
    assert not (records._kept("7000000")).exists()


def test_a_record_that_answers_for_another_is_refused(zenodo: Zenodo) -> None:
    zenodo.register()
    zenodo.publish(7000009, {"package.zip": OTHER}, concept=6999999)
    zenodo.drifted[7000001] = 7000009
    with pytest.raises(
        SourceError, match="was asked for record 7000001 and answered with record 7000009"
    ):
        fetched()
    assert zenodo.seen(FILES) == []


def test_a_record_that_is_not_there(zenodo: Zenodo) -> None:
    zenodo.register(source="zenodo:123/package.zip")
    with pytest.raises(
        SourceError, match=r"There is nothing at .*/api/records/123 \(it answers 404"
    ):
        fetched()


@pytest.mark.parametrize(
    "location",
    ["", "7", "x/a.zip", "7/", "7/../a.zip", "7/a\\b", "10.5281/zenodo.7/a.zip", "7//a.zip"],
)
def test_a_source_that_names_no_file_of_a_record(zenodo: Zenodo, location: str) -> None:
    zenodo.register(source=f"zenodo:{location}")
    with pytest.raises(SourceError, match="names no file of a record"):
        fetched()
    assert zenodo.log == []


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    key=st.text(
        st.characters(exclude_characters="\\\0", exclude_categories=("Cs",)),
        min_size=1,
        max_size=30,
    )
)
def test_a_file_of_any_name_is_found(zenodo: Zenodo, key: str) -> None:
    assume(not {"", ".", ".."} & set(key.split("/")))
    zenodo.publish(5, {key: key.encode()})
    remote = records.ask(f"5/{key}")
    assert unquote(remote.url).endswith(f"/files/{key}/content")
    assert remote.url.isascii()
    assert not set(remote.url) & set(' ?#"<>')
    seen = zenodo.file(unquote(remote.url.removeprefix(zenodo.url)))
    assert seen is not None
    assert seen.content == key.encode()


def test_a_name_with_spaces_and_letters_of_any_script_is_downloaded(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.publish(5, {"Mein Modell µ 100%?.zip": ARCHIVE})
    zenodo.register(source="zenodo:5/Mein Modell µ 100%?.zip")
    zenodo.publish(5, {"Mein Modell µ 100%?.zip": ARCHIVE})
    fetched()
    assert downloads(tmp_path)[0].name == "Mein Modell µ 100%?.zip"


def test_a_broken_record_in_the_cache_is_asked_for_again(zenodo: Zenodo) -> None:
    zenodo.register(digest="")
    kept = records._kept("7000001")
    kept.parent.mkdir(parents=True)
    for rubbish in ("", "[1]", '{"id": 7000001}', "\0"):
        kept.write_text(rubbish)
        assert records.known("7000001/package.zip") is None
    assert fetched().digests
    assert json.loads(kept.read_text())["id"] == 7000001


def test_records_of_another_zenodo_are_kept_apart(
    zenodo: Zenodo, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = records._kept("7")
    monkeypatch.setenv("MEDZOO_ZENODO", "https://sandbox.zenodo.org/")
    there = records._kept("7")
    monkeypatch.delenv("MEDZOO_ZENODO")
    assert (here.name != there.name, there.name, records._kept("7").name) == (
        True,
        "sandbox.zenodo.org-7.json",
        "7.json",
    )
    assert records.address("7/a b.zip") == "https://zenodo.org/records/7/files/a%20b.zip"


def test_a_page_in_place_of_the_record_is_said(zenodo: Zenodo) -> None:
    zenodo.register()
    zenodo.fault(page("Zenodo is under maintenance"), on=RECORDS)
    with pytest.raises(SourceError, match="answers with a web page: Zenodo is under maintenance"):
        fetched()


def test_a_redirected_file_is_followed(zenodo: Zenodo) -> None:
    zenodo.register()
    zenodo.fault(redirect("/record/7000001/files/package.zip?download=1"))
    assert fetched().digests
    assert zenodo.log[-1].path == "/records/7000001/files/package.zip"


# ----------------------------------------------------------------------------------------------------------- the digests
def test_the_first_use_is_recorded_and_enforced(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.register(digest="")
    fetched()
    recorded = json.loads((tmp_path / "cache/digests.json").read_text())
    address = f"{zenodo.url}/records/7000001/files/package.zip"
    assert recorded == {address: {"md5": of(ARCHIVE, "md5"), "sha256": of(ARCHIVE)}}
    shutil.rmtree(tmp_path / "cache/downloads")
    shutil.rmtree(tmp_path / "cache/records")
    zenodo.publish(7000001, {"package.zip": OTHER})
    with pytest.raises(IntegrityError) as caught:
        fetched()
    assert (
        f"{of(ARCHIVE, 'md5')}  by its first use ({tmp_path / 'cache/digests.json'})"
        in caught.value.problem
    )
    assert f"{of(OTHER, 'md5')}  by its source (zenodo)" in caught.value.problem
    assert zenodo.log[-1].path == "/api/records/7000001"  # nothing was downloaded
    assert downloads(tmp_path) == []


def test_a_file_that_changes_behind_a_known_record_is_told_as_such(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.register(digest="")
    fetched()
    shutil.rmtree(tmp_path / "cache/downloads")
    zenodo.publish(7000001, {"package.zip": OTHER})  # its record is in the cache
    with pytest.raises(IntegrityError, match="has more than one digest"):
        fetched()
    assert [s.path.rpartition("/")[2] for s in zenodo.log[2:]] == ["content", "7000001"]


def test_wrong_bytes_are_an_integrity_error_and_leave_nothing(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.register(digest="")
    zenodo.records[7000001].files["package.zip"].md5 = "0" * 32
    with pytest.raises(
        IntegrityError, match=f"expected {'0' * 32}\n  found    {of(ARCHIVE, 'md5')}"
    ):
        fetched()
    assert downloads(tmp_path) == []
    assert not (tmp_path / "cache/digests.json").exists()
    assert not (tmp_path / "cache/packages").exists()


def test_the_configs_sha256_decides_whatever_zenodo_announces(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.register()
    zenodo.records[7000001].files["package.zip"].md5 = "0" * 32
    assert fetched().digests == {"package.zip": of(ARCHIVE)}
    assert not (tmp_path / "cache/digests.json").exists()


@pytest.mark.parametrize("digest", ["sha256", "md5"])
def test_the_configs_digest_is_enforced(zenodo: Zenodo, tmp_path: Path, digest: str) -> None:
    zenodo.register(digest=digest)
    content = ARCHIVE[:-1] + b"?"
    zenodo.records[7000001].files["package.zip"].content = content
    zenodo.records[7000001].files["package.zip"].md5 = of(ARCHIVE, "md5")
    with pytest.raises(
        IntegrityError, match=f"expected {of(ARCHIVE, digest)}\n  found    {of(content, digest)}"
    ):
        fetched()
    assert downloads(tmp_path) == []


def test_a_config_whose_md5_zenodo_contradicts(zenodo: Zenodo) -> None:
    zenodo.register(digest="", md5="1" * 32)
    with pytest.raises(
        IntegrityError, match=rf"1{{32}}  by its config (.|\n)*{of(ARCHIVE, 'md5')}  by its source"
    ):
        fetched()


def test_what_lies_in_the_cache_is_held_to_the_recorded_sha256(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.register(digest="md5")
    fetched()
    digests.record(
        f"{zenodo.url}/records/7000001/files/package.zip", sha256=of(ARCHIVE)
    )  # the same: fine
    with pytest.raises(IntegrityError, match="by what was found now"):
        digests.record(f"{zenodo.url}/records/7000001/files/package.zip", sha256="2" * 64)


@pytest.mark.parametrize("rubbish", ["", "{", "[]", '{"https://x": 1}'])
def test_digests_that_cannot_be_read_stop_everything(
    zenodo: Zenodo, tmp_path: Path, rubbish: str
) -> None:
    zenodo.register(digest="")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/digests.json").write_text(rubbish)
    with pytest.raises(IntegrityError, match=r"digests\.json cannot be read(.|\n)*remove it"):
        fetched()
    assert (tmp_path / "cache/digests.json").read_text() == rubbish


def test_an_unconfirmed_sha256_warns_and_zenodos_md5_decides(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.register(digest="", sha256_unconfirmed="3" * 64)
    with pytest.warns(MedzooWarning, match=f"others     3{{64}}\n  found      {of(ARCHIVE)}"):
        assert fetched().digests == {"package.zip": of(ARCHIVE)}
    fetched()  # once is enough
    shutil.rmtree(tmp_path / "cache")
    zenodo.records[7000001].files["package.zip"].md5 = "0" * 32
    with pytest.raises(IntegrityError):
        fetched()


def test_an_unconfirmed_sha256_that_is_right_is_nothing_to_speak_of(zenodo: Zenodo) -> None:
    zenodo.register(digest="", sha256_unconfirmed=of(ARCHIVE))
    fetched()


def test_a_size_is_as_unconfirmed_as_the_sha256_beside_it(zenodo: Zenodo) -> None:
    zenodo.register(digest="", sha256_unconfirmed="3" * 64, size=12_345)
    with pytest.warns(MedzooWarning, match="others     333"):
        assert fetched().digests == {"package.zip": of(ARCHIVE)}


def test_a_size_without_an_unconfirmed_sha256_is_enforced(zenodo: Zenodo) -> None:
    zenodo.register(digest="", size=12_345)
    with pytest.raises(IntegrityError, match="expected 12,345 bytes"):
        fetched()


RECORD = """
import sys, time
from medzoo.packages import digests
while time.time() < float(sys.argv[2]):
    pass
for k in range(20):
    digests.record(f"https://x/{sys.argv[1]}/{k}", md5=f"{k:032x}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("locks", [True, False])
def test_processes_that_record_at_once_spoil_nothing(tmp_path: Path, locks: bool) -> None:
    if not locks:
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache/locks").touch()  # in place of the folder
    start = str(time.time() + 3)
    writers = [subprocess.Popen([sys.executable, "-c", RECORD, str(k), start]) for k in range(4)]
    assert [w.wait(timeout=60) for w in writers] == [0] * 4
    found = json.loads((tmp_path / "cache/digests.json").read_text())
    if locks:  # without any, one that is lost is taken anew at the next use, and the record in the cache still names it
        assert set(found) == {f"https://x/{w}/{k}" for w in range(4) for k in range(20)}
    assert found
    assert all(
        entry == {"md5": f"{int(address.rpartition('/')[2]):032x}"}
        for address, entry in found.items()
    )


# --------------------------------------------------------------------------------------------- addresses of no registry
@pytest.fixture
def secure(
    zenodo: Zenodo, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """An https server whose certificate is trusted here."""
    import ssl

    files = certificate(tmp_path_factory.mktemp("tls"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(files[0]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    with ZenodoServer(context) as server:
        server.elsewhere["/models/knee.zip"] = File(ARCHIVE)
        yield server


def test_an_address_with_a_digest_needs_no_trust(secure: ZenodoServer, zenodo: Zenodo) -> None:
    zenodo.register(source=f"{secure.url}/models/knee.zip?raw=1")
    assert fetched().digests == {"knee.zip": of(ARCHIVE)}
    assert (len(secure.log), zenodo.log) == (1, [])


def test_an_address_without_a_digest_needs_trust_before_anything_is_asked(
    secure: ZenodoServer, zenodo: Zenodo, tmp_path: Path, no_network: Callable[[], None]
) -> None:
    zenodo.register(source=f"{secure.url}/models/knee.zip", digest="")
    with pytest.raises(TrustError, match=r"no digest is known for the file(.|\n)*trust=True"):
        fetched()
    assert secure.log == []
    package = fetched(trust=True)
    assert package.digests == {"knee.zip": of(ARCHIVE)}
    with pytest.raises(TrustError):  # each time
        fetched()
    no_network()
    assert fetched(trust=True) == package


def test_what_was_trusted_once_is_what_is_taken_again(
    secure: ZenodoServer, zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.register(source=f"{secure.url}/models/knee.zip", digest="")
    fetched(trust=True)
    shutil.rmtree(tmp_path / "cache/downloads")
    secure.elsewhere["/models/knee.zip"] = File(OTHER)
    with pytest.raises(IntegrityError, match=f"expected {of(ARCHIVE)}\n  found    {of(OTHER)}"):
        fetched(trust=True)


def test_what_was_trusted_is_no_proof_against_a_digest_that_comes_later(
    secure: ZenodoServer, zenodo: Zenodo
) -> None:
    zenodo.register(source=f"{secure.url}/models/knee.zip", digest="")
    fetched(trust=True)
    zenodo.register(source=f"{secure.url}/models/knee.zip", digest="", md5=of(OTHER, "md5"))
    with pytest.raises(IntegrityError, match=f"expected {of(OTHER, 'md5')}"):
        fetched()


# ------------------------------------------------------------------------------------------------------------ mirrors
def mirror(folder: Path, content: bytes = ARCHIVE) -> str:
    (folder / "7000001").mkdir(parents=True)
    (folder / "7000001/package.zip").write_bytes(content)
    return str(folder)


@pytest.mark.parametrize("form", ["{}", "file:{}", " {} "])
def test_a_folder_is_a_mirror_and_spares_the_network(
    zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    zenodo.register()
    monkeypatch.setenv("MEDZOO_MIRROR", form.format(mirror(tmp_path / "a mirror")))
    assert fetched().digests == {"package.zip": of(ARCHIVE)}
    assert zenodo.log == []
    assert sha256_of(tmp_path / "a mirror/7000001/package.zip") == of(ARCHIVE)  # a copy was taken


def test_a_server_is_a_mirror_below_any_address(
    zenodo: Zenodo, monkeypatch: pytest.MonkeyPatch
) -> None:
    zenodo.register()
    zenodo.elsewhere["/med zoo/7000001/package.zip"] = File(ARCHIVE)
    monkeypatch.setenv("MEDZOO_MIRROR", f"{zenodo.url}/med%20zoo/")
    fetched()
    assert [s.path for s in zenodo.log] == ["/med zoo/7000001/package.zip"]


def test_a_mirror_is_held_to_the_digest_and_told_of_and_the_next_one_asked(
    zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zenodo.register()
    zenodo.elsewhere["/m/7000001/package.zip"] = File(OTHER)
    bad, missing = mirror(tmp_path / "bad", OTHER), str(tmp_path / "nowhere")
    monkeypatch.setenv("MEDZOO_MIRROR", f"{zenodo.url}/m,{bad},{missing}")
    with pytest.warns(MedzooWarning) as told:
        assert fetched().digests == {"package.zip": of(ARCHIVE)}
    first, second, third = [str(w.message) for w in told]
    assert first.startswith(f"{zenodo.url}/m/7000001/package.zip gives another file")
    assert f"{bad}/7000001/package.zip gives another file" in second
    assert f"expected {of(ARCHIVE)}\n  found    {of(OTHER)}" in second
    assert third.startswith(f"There is no file {missing}/7000001/package.zip")
    assert [s.path for s in zenodo.log][1:] == [
        "/api/records/7000001",
        "/api/records/7000001/files/package.zip/content",
    ]


def test_the_mirrors_of_the_config_come_last(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.elsewhere["/second.zip"] = File(ARCHIVE)
    zenodo.register(mirrors=["file:near/first.zip", f"{zenodo.url}/second.zip"])
    zenodo.fault(status(404), on=RECORDS)
    with pytest.warns(MedzooWarning, match="There is n"):
        fetched()
    assert [s.path for s in zenodo.log] == ["/api/records/7000001", "/second.zip"]
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "configs/near").mkdir()
    (tmp_path / "configs/near/first.zip").write_bytes(ARCHIVE)
    zenodo.fault(status(404), on=RECORDS)
    with pytest.warns(MedzooWarning, match="There is nothing at"):
        fetched()
    assert len(zenodo.log) == 3


def test_without_any_digest_zenodo_is_asked_before_a_mirror(
    zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zenodo.register(digest="")
    monkeypatch.setenv("MEDZOO_MIRROR", mirror(tmp_path / "mirror"))
    assert fetched().digests == {"package.zip": of(ARCHIVE)}
    assert [s.path for s in zenodo.log] == [
        "/api/records/7000001"
    ]  # for the md5; the file came from the mirror


def test_when_nobody_has_it_all_are_named(
    zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zenodo.register(mirrors=[f"{zenodo.url}/gone.zip"])
    monkeypatch.setenv("MEDZOO_MIRROR", mirror(tmp_path / "bad", OTHER))
    zenodo.fault(status(404))
    with pytest.raises(SourceError) as caught:
        fetched()
    for address in (
        f"{tmp_path}/bad/7000001/package.zip gives",
        "/files/package.zip/content (it answers 404",
        "/gone.zip (it",
    ):
        assert address in caught.value.problem


def test_an_address_of_no_record_has_its_place_on_a_mirror_too(
    zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zenodo.register(source="https://models.example.org/mri/knee%20v2.zip?raw=1")
    (tmp_path / "m/models.example.org/mri").mkdir(parents=True)
    (tmp_path / "m/models.example.org/mri/knee v2.zip").write_bytes(ARCHIVE)
    monkeypatch.setenv("MEDZOO_MIRROR", str(tmp_path / "m"))
    assert fetched().digests == {"knee v2.zip": of(ARCHIVE)}


# -------------------------------------------------------------------------------------------------- without a network
@pytest.fixture
def offline(
    zenodo: Zenodo, no_network: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """From the call on, medzoo is told that there is no network, and a socket is a failure."""

    def cut() -> None:
        monkeypatch.setenv("MEDZOO_OFFLINE", "1")
        no_network()

    return cut


@pytest.mark.parametrize("digest", ["sha256", "md5", ""])
def test_what_is_in_the_cache_works_offline(
    zenodo: Zenodo, tmp_path: Path, offline: Callable[[], None], digest: str
) -> None:
    zenodo.register(digest=digest)
    package = fetched()
    offline()
    assert fetched() == package
    shutil.rmtree(tmp_path / "cache/packages")
    assert fetched() == package
    if not digest:  # the record alone tells the md5
        (tmp_path / "cache/digests.json").unlink()
        assert fetched() == package


def test_offline_the_error_says_how_to_bring_the_file_and_that_works(
    zenodo: Zenodo, tmp_path: Path, offline: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    zenodo.register()
    offline()
    with pytest.raises(SourceError) as caught:
        fetched()
    assert "is not in the cache, and MEDZOO_OFFLINE is set: package.zip" in caught.value.problem
    place = tmp_path / f"cache/downloads/00901_TOY_MRI_NOISE-{of(ARCHIVE)[:16]}/package.zip"
    for way in (
        f"/records/7000001/files/package.zip (sha256:{of(ARCHIVE)}) at {place}",
        "as 7000001/package.zip in a folder",
        "`medzoo cache export FILE 901`",
    ):
        assert way in caught.value.hint
    assert zenodo.log == []
    place.parent.mkdir(parents=True)
    place.write_bytes(ARCHIVE)
    assert fetched().digests == {"package.zip": of(ARCHIVE)}
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setenv(
        "MEDZOO_MIRROR", f"https://mirror.example.org/medzoo,{mirror(tmp_path / 'usb')}"
    )
    assert fetched().digests == {"package.zip": of(ARCHIVE)}


def test_offline_a_file_of_which_no_digest_is_known_cannot_be_brought_alone(
    zenodo: Zenodo, tmp_path: Path, offline: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    zenodo.register(digest="")
    monkeypatch.setenv("MEDZOO_MIRROR", mirror(tmp_path / "usb"))
    offline()
    with pytest.raises(
        SourceError, match=r"is not in the cache(.|\n)*`medzoo cache import FILE`"
    ) as caught:
        fetched()
    assert "Put " not in caught.value.hint


def test_offline_a_damaged_file_is_called_so_and_left(
    zenodo: Zenodo, tmp_path: Path, offline: Callable[[], None]
) -> None:
    zenodo.register()
    fetched()
    (path,) = downloads(tmp_path)
    path.write_bytes(b"damaged")
    offline()
    with pytest.raises(SourceError, match="is damaged in the cache"), warnings.catch_warnings():
        fetched()
    assert path.read_bytes() == b"damaged"


def test_offline_a_mirror_with_other_bytes_is_part_of_the_error(
    zenodo: Zenodo, tmp_path: Path, offline: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    zenodo.register()
    monkeypatch.setenv("MEDZOO_MIRROR", mirror(tmp_path / "usb", OTHER))
    offline()
    with pytest.raises(
        SourceError, match=f"usb/7000001/package.zip gives another file(.|\n)*found    {of(OTHER)}"
    ):
        fetched()


def test_the_closest_model_that_needs_no_network_is_named(
    zenodo: Zenodo, offline: Callable[[], None]
) -> None:
    zenodo.register()
    offline()
    with pytest.raises(SourceError, match="Of the models that come with medzoo, 00"):
        fetched()
    with pytest.raises(
        SourceError, match=r"Its version 2\.2\.0 comes with medzoo: version='2\.2\.0'"
    ):
        store.package(resolve(8), resolve(8).version("1.0.1"))


def test_closest_is_by_modality_organ_and_content(zenodo: Zenodo) -> None:
    zenodo.register()
    config = resolve(901)
    bundled = [c for c in map(resolve, (8,)) if c.default.scheme == "bundled"]
    for other in bundled:
        like = dataclasses.replace(
            config, modality=other.modality.upper(), organ=other.organ, content=other.content
        )
        assert f"{other.id} is closest: {other.name}" in store.without_network(like)


def test_a_failed_download_names_it_too(zenodo: Zenodo) -> None:
    zenodo.register()
    zenodo.fault(status(404), status(404), on=RECORDS)
    with pytest.raises(SourceError, match="Of the models that come with medzoo"):
        fetched()
    zenodo.register(
        digest=""
    )  # then Zenodo is asked first of all, and the error names the model no less
    with pytest.raises(
        SourceError,
        match=r"00901_TOY_MRI_NOISE, version 1.0.0, could not be fetched\.\nThere is nothing",
    ):
        fetched()


def test_closest_makes_the_same_kind_of_thing(zenodo: Zenodo) -> None:
    zenodo.register()
    like = dataclasses.replace(
        resolve(901), modality="none", organ="none", content="a", name="a table with", tags=()
    )
    named = store.without_network(like).partition(" is closest")[0].rpartition(" ")[2]
    assert "image" in {o.kind for o in resolve(named).default.outputs.values()}


# ------------------------------------------------------------------------------------------------------ broken archives
@pytest.mark.usefixtures("own_temporary_files")
def test_a_broken_archive_is_removed_and_the_next_call_fetches_anew(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.register(digest="")
    zenodo.publish(7000001, {"package.zip": ARCHIVE[:-10]})
    with pytest.raises(
        IntegrityError, match=r"00901\S+, version 1.0.0: package.zip was not unpacked: it is broken"
    ) as caught:
        fetched()
    assert "removed from the cache" in caught.value.problem
    assert downloads(tmp_path) == []
    assert cache.entries() == []  # the empty folder that is left is nothing to list
    assert list((tmp_path / "cache/packages").iterdir()) == []
    before = len(zenodo.log)
    with pytest.raises(IntegrityError, match="removed from the cache"):
        fetched()
    assert len(zenodo.log) == before + 1


# ------------------------------------------------------------------------------------------------- many processes at once
FETCH = """
import dataclasses, os, sys, time
from medzoo.packages import store
from medzoo.registry import resolve
from medzoo.packages import http
http.policy = dataclasses.replace(http.policy, turn=float(sys.argv[2]), stall=5)
config = resolve(901)
print("ready", flush=True)
while time.time() < float(sys.argv[1]):
    time.sleep(0.005)
found = store.package(config, config.default)
print(found.path, sorted(p.name for p in found.path.iterdir()), flush=True)
"""
BIG = {
    "toy/model.py": NUMPY_MODEL.encode(),
    "toy/weights.npz": random.Random(2).randbytes(2_000_000),
}


def start(at: float = 0, turn: float = 60) -> subprocess.Popen[str]:
    """A process that fetches model 901."""
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, str(at), str(turn)], stdout=subprocess.PIPE, text=True
    )


def wait_for(what: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("locks", [True, False])
def test_of_eight_processes_one_downloads_and_all_succeed(
    zenodo: Zenodo, tmp_path: Path, locks: bool
) -> None:
    zenodo.register(BIG, digest="")
    if not locks:  # as on a disk without them: no lock can be taken
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache/locks").touch()
    zenodo.fault(*[drip(200_000, 0.05)] * 8)
    processes = [start(time.time() + 6) for _ in range(8)]
    outputs = [p.communicate(timeout=120)[0] for p in processes]
    assert [p.returncode for p in processes] == [0] * 8
    assert len(set(outputs)) == 1
    assert "['model.py', 'weights.npz']" in outputs[0]
    if locks:
        assert [s.path for s in zenodo.log] == [
            "/api/records/7000001",
            "/api/records/7000001/files/package.zip/content",
        ]
    assert [p.name for p in downloads(tmp_path)] == ["package.zip"]
    assert len(list((tmp_path / "cache/packages").iterdir())) == 1


@pytest.mark.slow
def test_one_that_is_killed_blocks_nobody_and_loses_nothing(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.register(BIG)
    size = len(zenodo.records[7000001].files["package.zip"].content)
    zenodo.fault(stall(1_200_000))
    first = start()
    wait_for(
        lambda: (
            sum(p.stat().st_size for p in downloads(tmp_path) if p.suffix == ".part") > 1_000_000
        )
    )
    others = [start() for _ in range(3)]
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
    time.sleep(0.5)  # they wait for the first one
    assert all(o.poll() is None for o in others)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    for other in others:
        output, _ = other.communicate(timeout=60)
        assert "['model.py', 'weights.npz']" in output
    began, rest = zenodo.seen(FILES)
    assert (began.status, rest.status) == (200, 206)
    at = int(rest.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert at > 1_000_000
    assert rest.sent == size - at  # the rest and no more
    assert [p.name for p in downloads(tmp_path)] == [
        "package.zip"
    ]  # and nothing left of the killed one
    if first.stdout:
        first.stdout.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGSTOP")
def test_one_that_holds_the_lock_and_sleeps_is_not_waited_for_long(
    zenodo: Zenodo, tmp_path: Path
) -> None:
    zenodo.register(BIG)
    zenodo.fault(drip(100_000, 0.1))
    first = start()
    try:
        wait_for(lambda: any(p.suffix == ".part" and p.stat().st_size for p in downloads(tmp_path)))
        first.send_signal(signal.SIGSTOP)
        output, _ = start(turn=1).communicate(timeout=60)
        assert "['model.py', 'weights.npz']" in output
    finally:
        first.send_signal(signal.SIGCONT)
    output, _ = first.communicate(timeout=60)  # and it ends well itself
    assert "['model.py', 'weights.npz']" in output
    assert [p.name for p in downloads(tmp_path)] == ["package.zip"]


@pytest.mark.slow
@pytest.mark.parametrize("at", range(3))
def test_killed_at_any_moment_the_next_one_ends_in_the_right_bytes(
    zenodo: Zenodo, tmp_path: Path, at: int
) -> None:
    zenodo.register(BIG, digest=["sha256", "md5", ""][at])
    zenodo.fault(*[drip(100_000, 0.02)] * 30)
    for k in range(4):
        process = start()
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1 + 0.07 * at + 0.05 * k)
        process.kill()
        process.communicate()
    package = fetched()
    assert (package.path / "weights.npz").read_bytes() == BIG["toy/weights.npz"]
    assert [p.name for p in downloads(tmp_path)] == ["package.zip"]


# ------------------------------------------------------------------------------------------------------ the command line
def test_the_command_line_downloads_and_its_offline_does_not(
    zenodo: Zenodo,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDZOO_OFFLINE", "0")
    zenodo.register()
    assert main(["copy", "901", str(tmp_path / "one"), "--offline"]) == SourceError.exit_code
    assert "MEDZOO_OFFLINE is set" in capsys.readouterr().err
    assert zenodo.log == []
    assert not (tmp_path / "one").exists()
    monkeypatch.setenv("MEDZOO_OFFLINE", "0")
    assert main(["copy", "901", str(tmp_path / "one")]) == 0
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["config.yaml", "model.py"]
    assert main(["copy", "901", str(tmp_path / "two"), "--offline"]) == 0


def test_an_interrupted_download_says_that_it_goes_on(
    zenodo: Zenodo,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDZOO_OFFLINE", "0")
    monkeypatch.setattr(
        http, "policy", dataclasses.replace(http.policy, sleep=Mock(side_effect=KeyboardInterrupt))
    )
    zenodo.register(BIG)
    zenodo.fault(truncate(500_000))
    command = ["generate", "901", "-n", "1", "--out", str(tmp_path / "out"), "--env", "current"]
    assert main(command) == 130
    assert (
        "interrupted; what was downloaded stays in the cache, and the same command continues it"
        in capsys.readouterr().err
    )
    assert main(["copy", "901", str(tmp_path / "copy")]) == 0
    assert zenodo.log[-1].status == 206
    assert downloads(tmp_path)[0].name == "package.zip"


def test_all_bundled_models_need_no_socket(no_network: Callable[[], None]) -> None:
    no_network()
    assert sources.local(resolve(8), resolve(8).default).is_dir()


def test_a_file_whose_name_begins_with_tmp_stays(
    zenodo: Zenodo, toy: Callable[..., int], tmp_path: Path
) -> None:
    content = zipped({"toy/model.py": textwrap.dedent(NUMPY_MODEL).encode()})
    zenodo.publish(7000001, {"tmp_model.zip": content})
    known = {"sha256": hashlib.sha256(content).hexdigest()}
    number = toy(source="zenodo:7000001/tmp_model.zip", files=None, **known)
    medzoo.generate(number, 2, env="current")
    assert [p.name for p in downloads(tmp_path)] == ["tmp_model.zip"]
