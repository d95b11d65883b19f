"""Models on the Hugging Face hub, and packages of several files: found, verified, assembled, carried, refused."""

from __future__ import annotations

import dataclasses
import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import NUMPY_MODEL
from hub_server import COMMIT, HubServer
from zenodo_server import File, page, redirect, truncate, zipped

import medzoo
from medzoo.errors import (
    ConfigError,
    InputError,
    IntegrityError,
    MedzooWarning,
    SourceError,
    TrustError,
)
from medzoo.packages import cache, http, store
from medzoo.registry import resolve

CODE = NUMPY_MODEL.encode()
WEIGHTS = bytes(range(256)) * 1200
CONTENTS = {"model.py": CODE, "nets/weights.npz": WEIGHTS, ".gitattributes": b"*.npz lfs"}
Toy = Callable[..., int]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetched(**options: Any) -> store.Package:
    return store.package(resolve(901), resolve(901).default, **options)


@pytest.fixture
def hub(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with the toy package, as the user's endpoint; its client waits for nothing."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        quick = dataclasses.replace(http.policy, connect=2, stall=0.5, gain=1, sleep=lambda _: None)
        monkeypatch.setattr(http, "policy", quick)
        server.add("anna/toy", CONTENTS, large=["nets/weights.npz"])
        toy(source=f"hf:anna/toy@{COMMIT}", files=None)
        yield server


# ------------------------------------------------------------------------------- whole repositories
def test_a_repository_is_downloaded_once_and_runs(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = fetched()
    assert package.digests == {"model.py": sha256(CODE), "nets/weights.npz": sha256(WEIGHTS)}
    assert (package.path / "nets/weights.npz").read_bytes() == WEIGHTS
    assert not (package.path / ".gitattributes").exists()
    requests = len(hub.log)

    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert fetched() == package
    assert len(hub.log) == requests
    assert medzoo.generate(901, 2, env="current").images.shape == (2, 1, 8, 8)


def test_the_hubs_own_client_reads_the_same_server(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi

    hub.page = 2  # the list goes on in a second answer
    api = HfApi(endpoint=hub.url, token=False)
    listed = api.list_repo_tree("anna/toy", recursive=True, revision=COMMIT)
    assert {entry.path for entry in listed} == {*CONTENTS, "scripts"}
    theirs = api.hf_hub_download(
        "anna/toy", "nets/weights.npz", revision=COMMIT, cache_dir=tmp_path / "theirs"
    )
    assert Path(theirs).read_bytes() == (fetched().path / "nets/weights.npz").read_bytes()


def test_a_broken_download_goes_on_where_it_stopped(hub: HubServer) -> None:
    hub.fault(truncate(200_000), on="weights.npz")
    assert (fetched().path / "nets/weights.npz").read_bytes() == WEIGHTS
    assert [s.status for s in hub.seen("weights.npz")] == [200, 206]


def test_digests_of_the_config_are_enforced(hub: HubServer, toy: Toy) -> None:
    files = {"model.py": sha256(CODE), "nets/weights.npz": "3" * 64}
    toy(source=f"hf:anna/toy@{COMMIT}", files=files)
    with pytest.raises(IntegrityError, match=f"expected {'3' * 64}"):
        fetched()


@pytest.mark.parametrize(("name", "digits"), [("model.py", 40), ("nets/weights.npz", 64)])
def test_another_file_than_the_hub_lists_is_refused(
    hub: HubServer, name: str, digits: int, tmp_path: Path
) -> None:
    hub.repositories["anna/toy"].stated[name] = "5" * digits
    with pytest.raises(IntegrityError, match=f"expected .*{'5' * digits}"):
        fetched()
    assert not list((tmp_path / "cache").glob("packages/*"))


def test_a_changed_file_of_an_assembled_package_is_found(hub: HubServer, tmp_path: Path) -> None:
    path = fetched().path / "model.py"
    path.unlink()
    path.write_text("import os")
    with pytest.raises(IntegrityError, match=f"expected {sha256(CODE)}"):
        fetched()
    assert [entry.kind for entry, _ in cache.verify().wrong] == ["package"]


# ----------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize("revision", ["main", "v1.0", COMMIT[:12], COMMIT.upper()])
def test_a_branch_a_tag_or_a_short_commit_is_refused(
    hub: HubServer, toy: Toy, revision: str
) -> None:
    toy(source=f"hf:anna/toy@{revision}/model.zip", files=None)
    with pytest.raises(SourceError, match=rf"{revision!r} is not a commit"):
        fetched()
    assert not hub.log


@pytest.mark.parametrize("source", ["toy", "anna/toy", f"anna@{COMMIT}", f"anna/toy@{COMMIT}/../x"])
def test_what_names_no_commit_of_a_repository_is_refused(
    hub: HubServer, toy: Toy, source: str
) -> None:
    toy(source=f"hf:{source}", files=None)
    with pytest.raises(SourceError, match="names no commit of a repository"):
        fetched()


def test_a_gated_repository_says_where_to_ask_and_opens_with_the_token(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = hub.repositories["anna/toy"]
    repository.token, repository.gated = "hf_right", True
    with pytest.raises(SourceError, match=rf"anna/toy is gated(.|\n)*{hub.url}/anna/toy.*HF_TOKEN"):
        fetched()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(SourceError, match="the account of HF_TOKEN has no access"):
        fetched()
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert fetched().digests["model.py"] == sha256(CODE)


def test_the_token_is_not_sent_to_another_host(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with HubServer() as store_of_large_files:
        store_of_large_files.elsewhere["/large"] = File(WEIGHTS)
        address = store_of_large_files.url.replace("127.0.0.1", "localhost")
        hub.fault(redirect(f"{address}/large"), on="/resolve/" + COMMIT + "/nets")
        assert fetched().digests["nets/weights.npz"] == sha256(WEIGHTS)
        assert [s.headers.get("Authorization") for s in store_of_large_files.log] == [None]
    assert hub.log[0].headers["Authorization"] == "Bearer hf_right"


def test_a_renamed_repository_is_an_error_with_its_new_name(hub: HubServer) -> None:
    hub.repositories["berta/new"] = hub.repositories["anna/toy"]
    hub.repositories["anna/toy"] = dataclasses.replace(
        hub.repositories["anna/toy"], called="berta/new"
    )
    with pytest.raises(
        SourceError, match=rf"anna/toy is called berta/new(.|\n)*hf:berta/new@{COMMIT}"
    ):
        fetched()


def test_a_repository_that_is_not_there_is_named(hub: HubServer, toy: Toy) -> None:
    toy(source=f"hf:anna/gone@{COMMIT}", files=None)
    with pytest.raises(SourceError, match=r"no repository anna/gone(.|\n)*Was it renamed, removed"):
        fetched()


def test_a_commit_or_a_file_that_is_not_there_is_named(hub: HubServer, toy: Toy) -> None:
    toy(source=f"hf:anna/toy@{'9' * 40}", files=None)
    with pytest.raises(SourceError, match=f"anna/toy has no commit {'9' * 40}"):
        fetched()
    toy(source=f"hf:anna/toy@{COMMIT}/model.zip", files=None)
    with pytest.raises(SourceError, match=r"no file model.zip(.|\n)*It has .*model.py"):
        fetched()


def test_a_web_page_or_a_pointer_in_place_of_a_file_is_refused(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.fault(page("Sign in"), on="weights.npz")
    with pytest.raises((SourceError, IntegrityError), match=r"web page: Sign in|web page"):
        fetched()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    hub.add("anna/toy", {**CONTENTS, "nets/weights.npz": pointer})
    for file in (tmp_path / "cache/records").glob("*"):
        file.unlink()
    with pytest.raises(SourceError, match="git-lfs pointer"):
        fetched()
    assert not list((tmp_path / "cache").glob("packages/*"))


def test_offline_without_the_list_of_files_says_what_to_do(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")
    with pytest.raises(SourceError, match=r"not in the cache, and MEDZOO_OFFLINE(.|\n)*`files`"):
        fetched()
    assert not hub.log


def test_a_mirror_has_the_paths_of_the_hub(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"mirror/anna/toy/resolve/{COMMIT}/nets"
    folder.mkdir(parents=True)
    (folder / "weights.npz").write_bytes(WEIGHTS)
    (folder.parent / "model.py").write_bytes(b"import os")  # refused: then from the hub
    monkeypatch.setenv("MEDZOO_MIRROR", str(tmp_path / "mirror"))
    with pytest.warns(MedzooWarning, match="came from another address"):
        assert fetched().digests == {"model.py": sha256(CODE), "nets/weights.npz": sha256(WEIGHTS)}
    assert not hub.seen("weights.npz")


# ------------------------------------------------------------------------------------ several files
def archive_with_parts(hub: HubServer, toy: Toy, **part: Any) -> int:
    """A zip whose weights are a pointer, and the weights at an address of their own."""
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    zip_ = zipped({"toy/model.py": CODE, "toy/nets/weights.npz": pointer})
    hub.add("anna/zips", {"toy.zip": zip_, "w.npz": WEIGHTS})
    here = f"hf:anna/zips@{COMMIT}"
    parts = {"nets/weights.npz": {"source": f"{here}/w.npz", **part}}
    return toy(source=f"{here}/toy.zip", files=None, sha256=sha256(zip_), parts=parts)


def test_a_part_takes_the_place_of_the_pointer_in_an_archive(hub: HubServer, toy: Toy) -> None:
    archive_with_parts(hub, toy, md5=hashlib.md5(WEIGHTS).hexdigest())
    package = fetched()
    assert sorted(package.digests) == ["nets/weights.npz", "toy.zip"]
    assert (package.path / "nets/weights.npz").read_bytes() == WEIGHTS
    assert fetched() == package
    report = cache.verify()
    assert not report.wrong
    assert "package" in {entry.kind for entry in report.right}


@pytest.mark.parametrize("kind", ["sha256", "sha1", "md5"])
def test_each_published_digest_of_a_part_is_enforced(hub: HubServer, toy: Toy, kind: str) -> None:
    wrong = hashlib.new(kind, b"other").hexdigest()
    archive_with_parts(hub, toy, **{kind: wrong})
    with pytest.raises(IntegrityError, match=wrong):
        fetched()


def test_a_published_sha1_is_enforced_and_the_sha256_recorded(
    hub: HubServer, toy: Toy, tmp_path: Path
) -> None:
    archive = zipped({"toy/model.py": CODE})
    digest = hashlib.sha1(archive).hexdigest()
    (tmp_path / "configs").mkdir(exist_ok=True)
    (tmp_path / "configs/toy.zip").write_bytes(archive)
    toy(source="https://127.0.0.1:9/toy.zip", sha1=digest, mirrors=["file:toy.zip"], files=None)
    with pytest.warns(MedzooWarning, match="came from another address"):
        assert fetched().digests == {"toy.zip": sha256(archive)}
    assert sha256(archive) in (tmp_path / "cache/digests.json").read_text()
    toy(source="https://127.0.0.1:9/toy.zip", sha1="4" * 40, mirrors=["file:toy.zip"], files=None)
    with pytest.raises(IntegrityError, match="4" * 40):
        fetched()


def test_a_part_without_a_digest_is_refused_before_anything_is_fetched(
    hub: HubServer, toy: Toy
) -> None:
    part = {"nets/weights.npz": {"source": "https://127.0.0.1:9/weights.npz"}}
    toy(source=f"hf:anna/toy@{COMMIT}/model.zip", files=None, sha256="1" * 64, parts=part)
    with pytest.raises(TrustError, match="no digest is known"):
        fetched()
    assert not hub.log


def test_a_folder_of_an_address_needs_the_names_of_its_files(hub: HubServer, toy: Toy) -> None:
    toy(source="https://127.0.0.1:9/toy/", files=None)
    with pytest.raises(SourceError, match=r"nothing lists its files(.|\n)*under `files`"):
        fetched()


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"../x": {"source": "https://a/b"}}, "a file in the package"),
        ({"x": {"source": "file:b"}}, "one of zenodo, https, hf"),
        ({"x": {"source": "https://a/b", "sha1": "12"}}, "40 hexadecimal digits"),
    ],
)
def test_a_part_that_is_not_valid_is_named(toy: Toy, part: dict[str, Any], says: str) -> None:
    toy(source="https://127.0.0.1:9/toy.zip", parts=part)
    with pytest.raises(ConfigError, match=says):
        resolve(901)


def test_several_files_are_carried_to_a_machine_without_a_network(
    hub: HubServer, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medzoo.packages.transfer import export_models, import_models

    with pytest.raises(InputError, match="names no `files`"):
        export_models(tmp_path / "out.zip", [901])
    files = {"model.py": sha256(CODE), "nets/weights.npz": sha256(WEIGHTS)}
    toy(source=f"hf:anna/toy@{COMMIT}", files=files)
    exported = export_models(tmp_path / "out.zip", [901])
    assert [carried.part for carried in exported] == ["model.py", "nets/weights.npz"]
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")
    assert len(import_models(tmp_path / "out.zip")) == 2
    assert fetched().digests == files
