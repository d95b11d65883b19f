"""Pull requests by the real PyGithub, to a GitHub on the loopback: opened once, updated, and what each fault says."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from contributed import Make, check, pack, submit, upload
from deposit_server import TOKEN as ZENODO_TOKEN
from deposit_server import DepositServer
from github_server import TOKEN, GitHubServer

import medzoo
from medzoo import cli
from medzoo.errors import ContributionError, InputError
from medzoo.packages import http
from medzoo.publishing import github, review
from medzoo.publishing.pull_text import fenced
from medzoo.publishing.submit import next_identifier

ID = "01001_TOY_MRI_NOISE"
BRANCH, CONFIG = f"model/{ID}", f"model_configs/{ID}.yaml"
EIGHT = "model_configs/00008_C-DCGAN_MMG_MASSES.yaml"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubServer]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    files = {EIGHT: (ROOT / EIGHT).read_bytes(), "README.md": b"medzoo\n"}
    with GitHubServer(files) as server:
        monkeypatch.setenv("MEDZOO_GITHUB", server.url)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        monkeypatch.setattr(github, "PACE", dict.fromkeys(github.PACE, None))
        quick = dataclasses.replace(http.policy, attempts=3, pause=0.01, connect=2)
        monkeypatch.setattr(http, "policy", quick)
        yield server


@pytest.fixture
def zenodo(monkeypatch: pytest.MonkeyPatch) -> Iterator[DepositServer]:
    with DepositServer() as server:
        monkeypatch.setenv("MEDZOO_DEPOSITS", server.url)
        monkeypatch.setenv("MEDZOO_ZENODO", server.url)
        monkeypatch.setenv("ZENODO_TOKEN", ZENODO_TOKEN)
        yield server


@pytest.fixture
def folder(package: Make, zenodo: DepositServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that is on Zenodo; its check is done, and its zip and sheet are made quickly."""
    path = package()
    report = check(path)
    monkeypatch.setattr(import_module("medzoo.publishing.pack"), "check", lambda *_, **__: report)
    upload(path, production=True, publish=True)
    return path


def test_the_pull_request_holds_config_report_and_sheet(server: GitHubServer, folder: Path) -> None:
    result = submit(folder)
    assert (result.id, result.branch, result.new) == (ID, BRANCH, True)
    added = server.content("author/medzoo", BRANCH)
    assert set(added) == {EIGHT, "README.md", CONFIG}
    version = yaml.safe_load(added[CONFIG])["versions"]["1.0.0"]
    assert version["source"] == "zenodo:7100001/TOY_MRI_NOISE-1.0.0.zip"
    assert version["doi"] == "10.5072/zenodo.7100001"
    assert version["sha256"] == pack(folder).sha256
    (pull,) = server.pulls
    assert pull["title"] == f"Add {ID}: Toy"
    assert re.search(r"(?m)^ok +samples", pull["body"])
    assert "- [ ] I may publish" in pull["body"]
    sheets = server.repositories["author/medzoo"].refs[f"sheets/{ID}"]
    assert f"https://github.com/author/medzoo/raw/{sheets}/sheet.png" in pull["body"]
    assert server.commits[sheets].tree["sheet.png"].startswith(b"\x89PNG")
    assert server.commits[sheets].parents == []
    assert list(server.commits[server.repositories["author/medzoo"].refs[BRANCH]].parents) == [
        server.repositories["medzoo/medzoo"].refs["main"]
    ]
    assert pull["html_url"] in str(result)


def test_a_second_call_updates_the_same_pull_request(
    server: GitHubServer, zenodo: DepositServer, folder: Path
) -> None:
    first = submit(folder)
    again = submit(folder)
    assert (again.url, again.commit, again.new) == (first.url, first.commit, False)
    server.pulls[0]["body"] = server.pulls[0]["body"].replace("- [ ] I may", "- [x] I may")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("1.0.0", "1.1.0"))
    upload(folder, production=True, publish=True, new_version=True)
    later = submit(folder)
    assert (later.url, later.branch) == (first.url, BRANCH)
    assert server.commits[later.commit].parents == [first.commit]
    assert len(server.pulls) == 1
    assert "- [x] I may" in server.pulls[0]["body"]  # the author's tick stays
    assert "TOY_MRI_NOISE-1.1.0.zip" in server.pulls[0]["body"]


def test_the_number_is_the_next_that_neither_configs_nor_pull_requests_have(
    server: GitHubServer, folder: Path
) -> None:
    server.commit_on("medzoo/medzoo", "main", {"model_configs/01001_GAN_CT_LUNG.yaml": b""})
    server.open_pull("someone", "model/01002_GAN_CT_LIVER")
    server.open_pull("someone", "model/01004_GAN_CT_HEART")
    server.open_pull("someone", "fix-a-typo")
    assert submit(folder).id == "01003_TOY_MRI_NOISE"
    assert next_identifier([], "A_B_C") == "01001_A_B_C"


def test_a_name_that_is_taken(server: GitHubServer, folder: Path) -> None:
    server.open_pull("someone", "model/01001_toy_mri_noise")
    with pytest.raises(ContributionError, match=r"(?s)pull/1 of someone.*another name"):
        submit(folder)
    server.pulls.clear()
    server.commit_on("medzoo/medzoo", "main", {"model_configs/01007_TOY_MRI_NOISE.yaml": b""})
    with pytest.raises(ContributionError, match="01007_TOY_MRI_NOISE is registered already"):
        submit(folder)
    assert "author/medzoo" not in server.repositories


def test_a_number_that_was_given_away_meanwhile(server: GitHubServer, folder: Path) -> None:
    submit(folder)
    server.commit_on("medzoo/medzoo", "main", {"model_configs/01001_GAN_CT_LUNG.yaml": b""})
    with pytest.raises(ContributionError, match="given to another model"):
        submit(folder)


def test_a_run_that_ended_before_the_pull_request_is_continued(
    server: GitHubServer, folder: Path
) -> None:
    server.fault("POST /repos/medzoo/medzoo/pulls", 403, "Resource not accessible")
    with pytest.raises(ContributionError, match="403"):
        submit(folder)
    assert BRANCH in server.repositories["author/medzoo"].refs
    assert submit(folder).id == ID
    assert len(server.pulls) == 1


def test_a_branch_with_something_else(server: GitHubServer, folder: Path) -> None:
    server.repositories["author/medzoo"] = github_fork(server)
    server.commit_on("author/medzoo", BRANCH, {"notes.txt": b""})
    with pytest.raises(
        ContributionError, match=r"(?s)branch model/.*something else.*Delete or rename"
    ):
        submit(folder)
    assert server.pulls == []


def github_fork(server: GitHubServer):  # type: ignore[no-untyped-def]
    source = server.repositories["medzoo/medzoo"]
    return dataclasses.replace(source, owner="author", refs=dict(source.refs))


def test_a_closed_pull_request_is_not_opened_again(server: GitHubServer, folder: Path) -> None:
    submit(folder)
    server.pulls[0]["state"] = "closed"
    with pytest.raises(ContributionError, match=r"(?s)was closed.*Reopen"):
        submit(folder)
    assert len(server.pulls) == 1


def test_a_fork_that_is_not_ready_is_waited_for(
    server: GitHubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pending = 3
    assert submit(folder).new
    server.repositories["author/medzoo"].pending = 100
    monkeypatch.setattr(github, "READY", 4)
    with pytest.raises(ContributionError, match="still making your fork"):
        submit(folder)


FAULTS = {
    "token": (
        "GET /user",
        401,
        "Bad credentials",
        "does not accept the token",
        "expired or was revoked",
    ),
    "scope": (
        "POST /repos/medzoo/medzoo/forks",
        403,
        "Resource not accessible",
        "403",
        "public_repo",
    ),
    "blob": (
        "POST /repos/author/medzoo/git/blobs",
        403,
        "Resource not accessible",
        "403",
        "Contents",
    ),
    "conflict": (
        "POST /repos/author/medzoo/git/refs",
        409,
        "Conflict",
        "409",
        "same command again",
    ),
    "refused": (
        "POST /repos/medzoo/medzoo/pulls",
        422,
        "Validation Failed",
        "422",
        "same command again",
    ),
    "no such": ("GET /repos/medzoo/medzoo", 404, "Not Found", "404", "name right"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_says_what_to_do(server: GitHubServer, folder: Path, fault: str) -> None:
    on, status, message, problem, hint = FAULTS[fault]
    server.fault(on, status, message)
    with pytest.raises(ContributionError) as raised:
        submit(folder)
    assert re.search(problem, raised.value.problem)
    assert re.search(hint, raised.value.hint)
    assert TOKEN not in str(raised.value)
    assert submit(folder).id == ID  # and then it goes on
    assert len(server.pulls) == 1


def test_limits_are_obeyed_and_errors_of_the_server_are_tried_again(
    server: GitHubServer, folder: Path
) -> None:
    server.fault("GET /user", 429, "slow down", Retry_After="1")
    server.fault("POST /repos/author/medzoo/git/commits", 500)
    assert submit(folder).new
    assert server.made("GET /user") == 2
    for _ in range(3):
        server.fault("GET /user", 502)
    with pytest.raises(ContributionError, match=r"(?s)open medzoo/medzoo.*Is there a network"):
        submit(folder)


def test_another_file_than_the_package_makes_is_refused(
    server: GitHubServer, zenodo: DepositServer, folder: Path
) -> None:
    zenodo.publish(42, {"TOY_MRI_NOISE-1.0.0.zip": b"other"})
    with pytest.raises(ContributionError, match=r"(?s)not the zip.*md5"):
        submit(folder, source="zenodo:42/TOY_MRI_NOISE-1.0.0.zip")
    (folder / "model.py").write_text((folder / "model.py").read_text() + "\n# changed\n")
    with pytest.raises(ContributionError, match="holds another zip"):
        submit(folder)
    assert server.pulls == []


def test_a_package_that_was_not_published(
    server: GitHubServer, package: Make, folder: Path
) -> None:
    other = package(folder="other")
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("name: Toy", "name: Other"))
    with pytest.raises(ContributionError, match=r"(?s)not uploaded.*contribute upload .*--publish"):
        submit(other)
    upload(other, production=True)
    with pytest.raises(ContributionError, match="is a draft"):
        submit(other)


def test_a_record_of_the_sandbox_is_not_registered(tmp_path: Path) -> None:
    path = tmp_path / f"{ID}.yaml"
    text = (ROOT / EIGHT).read_text().replace("id: 00008_C-DCGAN_MMG_MASSES", f"id: {ID}")
    source = "https://sandbox.zenodo.org/records/1/files/a.zip"
    path.write_text(re.sub(r"zenodo:\S+", source, text))
    wrong = [f.text for f in review.review(path).open if f.name.endswith("source")]
    assert f"{source} is on Zenodo's sandbox, which is emptied at times" in wrong


def test_a_report_cannot_leave_its_block() -> None:
    assert fenced("a\n```\nb") == ["````", "a\n```\nb", "````"]


def test_no_output_holds_the_token(
    server: GitHubServer,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server repeats the token in each of its errors."""
    caplog.set_level("DEBUG")
    command = ["contribute", "submit", str(folder), "--env", "current"]
    for on in (
        "GET /user",
        "POST /repos/medzoo/medzoo/forks",
        "POST /repos/author/medzoo/git/trees",
    ):
        for status in (401, 403, 404, 409, 422):
            server.fault(on, status, "Bad credentials" if status == 401 else "no")
            assert cli.main(command) == 11, (on, status)
    assert cli.main(command) == 0
    output = capsys.readouterr()
    said = output.out + output.err + caplog.text
    assert "[token]" in said
    assert TOKEN not in said
    assert [
        p for p in folder.parent.rglob("*") if p.is_file() and TOKEN.encode() in p.read_bytes()
    ] == []


def test_contribute_does_all_steps_and_continues(
    server: GitHubServer, zenodo: DepositServer, package: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENODO_SANDBOX_TOKEN", ZENODO_TOKEN)
    folder = package()
    one_by_one = {"env": "current", "production": True}
    assert medzoo.contribute(folder, until="pack", env="current").upload is None
    draft = medzoo.contribute(folder, **one_by_one)
    assert draft.upload is not None
    assert (draft.upload.record.published, draft.pull_request) == (False, None)
    assert "--publish" in str(draft)
    done = medzoo.contribute(folder, publish=True, **one_by_one)
    assert done.pull_request is not None
    assert (done.pull_request.id, done.pull_request.new) == (ID, True)
    again = medzoo.contribute(folder, publish=True, **one_by_one)
    assert again.pull_request is not None
    assert (again.pull_request.url, again.pull_request.new) == (done.pull_request.url, False)
    assert (len(zenodo.deposits), len(zenodo.published), len(server.pulls)) == (1, 1, 1)


def test_contribute_stops_at_what_is_missing(package: Make) -> None:
    stopped = medzoo.contribute(package(license=""), env="current")
    assert [f.name for f in stopped.report.open] == ["license"]
    assert stopped.package is None
    with pytest.raises(InputError, match="check, pack, upload, submit"):
        medzoo.contribute("nowhere", until="publish")


def test_the_page_for_authors_shows_what_the_commands_print(
    server: GitHubServer,
    zenodo: DepositServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each command of the page runs, and prints the lines that the page shows."""
    page = (ROOT / "docs" / "howto" / "author.md").read_text(encoding="utf-8")
    monkeypatch.setenv("ZENODO_SANDBOX_TOKEN", ZENODO_TOKEN)
    monkeypatch.chdir(tmp_path)
    ran = []
    for block in re.findall(r"```console\n(.+?)```", page, re.DOTALL):
        for command, shown in re.findall(r"(?m)^\$ (.+)\n((?:(?!\$ ).*\n)*)", block):
            words = shlex.split(command)
            if words[0] != "medzoo" or words[1] in {"generate", "publish"}:
                continue
            step = words[2]
            if step == "submit":  # after it was published on Zenodo itself
                publish = ["contribute", "upload", "mine/", "--production", "--publish", "--yes"]
                assert cli.main([*publish, "--env", "current"]) == 0
                capsys.readouterr()
            env = [] if step == "new" else ["--env", "current"]
            assert cli.main([*words[1:], *env]) == 0, capsys.readouterr()
            printed = capsys.readouterr().out.replace(zenodo.url, "https://sandbox.zenodo.org")
            printed = printed.replace(str(tmp_path) + "/", "").replace("7100001", "1234567")
            for line in filter(str.strip, shown.splitlines()):
                pattern = re.escape(line.strip()).replace(re.escape("..."), ".+")
                assert re.search(pattern, printed), (line, printed)
            ran.append(step)
            if step == "new":  # the author fills in
                for path in Path("mine").glob("*.[mpy]*"):
                    text = re.sub(r"  # TODO.*", "", path.read_text(encoding="utf-8"))
                    text = text.replace(
                        "TODO: of code and weights, such as MIT or CC BY 4.0", "MIT"
                    )
                    path.write_text(re.sub(r"TODO:", "Filled in:", text), encoding="utf-8")
    assert ran == ["new", "check", "pack", "upload", "submit"]
