"""Uploads to Zenodo's deposit API over real sockets: what arrives, what is continued, and what each fault says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from contributed import Make, check, upload
from deposit_server import BUCKETS, DEPOSITS, PUBLISH, TOKEN, DepositServer
from zenodo_server import Fault, reset, status, truncate

import medzoo
from medzoo import cli
from medzoo.errors import ContributionError, InputError
from medzoo.files import sha256_of
from medzoo.packages import http
from medzoo.publishing import tokens, zenodo_metadata
from medzoo.publishing.deposits import Zenodo

ZIP = "TOY_MRI_NOISE-1.0.0.zip"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[DepositServer]:
    """Zenodo and its sandbox; the client waits for nothing, but notes it in ``waited``."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with DepositServer() as server:
        server.waited = []  # type: ignore[attr-defined]
        monkeypatch.setenv("MEDZOO_DEPOSITS", server.url)
        monkeypatch.setenv("MEDZOO_ZENODO", server.url)
        monkeypatch.setenv("ZENODO_SANDBOX_TOKEN", TOKEN)
        monkeypatch.setenv("ZENODO_TOKEN", TOKEN)
        quick = dataclasses.replace(http.policy, connect=2, stall=5, sleep=server.waited.append)  # type: ignore[attr-defined]
        monkeypatch.setattr(http, "policy", quick)
        yield server


@pytest.fixture
def folder(package: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose check is done, so that only the upload takes time."""
    path = package()
    report = check(path)
    pack_module = import_module("medzoo.publishing.pack")
    monkeypatch.setattr(pack_module, "check", lambda *_, **__: report)
    return path


def sent(server: DepositServer) -> int:
    """How many files were sent whole or in part."""
    return sum(1 for seen in server.log if seen.method == "PUT" and BUCKETS in seen.path)


def test_a_draft_holds_the_zip_and_what_config_and_card_say(
    server: DepositServer, folder: Path
) -> None:
    result = upload(folder)
    (deposit,) = server.deposits.values()
    assert deposit.files == {ZIP: (folder.parent / "mine-packed" / ZIP).read_bytes()}
    assert server.published == []
    assert (result.record.published, result.record.doi) == (False, "10.5072/zenodo.7100001")
    metadata = deposit.metadata
    assert metadata["title"] == "Toy (TOY_MRI_NOISE 1.0.0)"
    assert metadata["creators"] == [{"name": "A. Tester"}]
    assert (metadata["license"], metadata["version"]) == ("mit", "1.0.0")
    assert "Noise for tests." in metadata["description"]
    assert "<h3>Intended use</h3>" in metadata["description"]  # of the card
    config = yaml.safe_load(result.config.read_text())["versions"]["1.0.0"]
    assert config["sha256"] == sha256_of(folder.parent / "mine-packed" / ZIP)
    assert config["size"] == len(deposit.files[ZIP])
    assert config["doi"] == "10.5072/zenodo.7100001"
    assert (
        config["source"] == f"{server.url}/records/7100001/files/{ZIP}"
    )  # not zenodo: it is the sandbox
    assert "--publish" in str(result)


def test_what_was_published_runs_from_the_config_that_was_written(
    server: DepositServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = upload(folder, production=True, publish=True)
    assert server.published == [7100001]
    assert result.source == f"zenodo:7100001/{ZIP}"
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(result.config.parent))
    samples = medzoo.generate("99999_TOY", 3, seed=4)
    assert samples.provenance["source"] == result.source
    assert np.array_equal(samples.images, medzoo.generate(folder, 3, seed=4, trust=True).images)
    assert "https://doi.org/10.5072/zenodo.7100001" in medzoo.cite(99999)


def test_nothing_is_sent_or_published_twice(server: DepositServer, folder: Path) -> None:
    first = upload(folder)
    assert upload(folder).record == first.record
    assert (len(server.deposits), sent(server)) == (1, 1)
    done = upload(folder, publish=True)
    assert done.record.published
    assert upload(folder, publish=True).record == done.record
    assert upload(folder, publish=True, new_version=True).record == done.record  # the same files
    assert (server.published, len(server.deposits), sent(server)) == ([7100001], 1, 1)


@pytest.mark.parametrize("published", [False, True])
def test_a_record_is_found_again_without_its_state(
    server: DepositServer, folder: Path, published: bool
) -> None:
    first = upload(folder, publish=published)
    (first.config.parent / "upload.json").unlink()
    assert upload(folder, publish=published).record == first.record
    assert (len(server.deposits), sent(server), len(server.published)) == (1, 1, int(published))


def test_a_draft_that_was_deleted_or_published_in_a_browser(
    server: DepositServer, folder: Path
) -> None:
    upload(folder)
    del server.deposits[7100001]
    again = upload(folder)
    server.deposits[again.record.number].submitted = True
    assert upload(folder, publish=True).record.published
    assert server.published == []  # medzoo did not publish it


def test_a_new_version_of_a_record(server: DepositServer, folder: Path) -> None:
    first = upload(folder, publish=True)
    config = folder / "config.yaml"
    (folder / "model.py").write_text((folder / "model.py").read_text() + "\n# changed\n")
    with pytest.raises(ContributionError, match=r"(?s)published with other files.*--new-version"):
        upload(folder, new_version=True)  # the version has its old name
    config.write_text(config.read_text().replace("1.0.0", "1.1.0"))
    second = upload(folder, new_version=True, publish=True)
    old, new = (server.deposits[r.record.number] for r in (first, second))
    assert old.concept == new.concept
    assert list(old.files) == [ZIP]
    assert list(new.files) == ["TOY_MRI_NOISE-1.1.0.zip"]  # the old zip is not in it
    assert server.published == [old.number, new.number]
    with pytest.raises(InputError, match="not a record"):
        upload(folder, new_version="mine")


def test_a_new_version_of_a_record_of_another_machine(server: DepositServer, folder: Path) -> None:
    first = upload(folder, publish=True)
    (first.config.parent / "upload.json").unlink()
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("1.0.0", "2.0.0"))
    with pytest.raises(InputError, match="No earlier upload"):
        upload(folder, new_version=True)
    second = upload(folder, new_version=first.record.doi)
    assert (
        server.deposits[second.record.number].concept
        == server.deposits[first.record.number].concept
    )


@pytest.mark.parametrize(
    "fault",
    [status(500), status(503), truncate(100), Fault(500, after=200), reset(50)],
    ids=["500", "503", "broken", "500 in the middle", "reset"],
)
def test_an_upload_goes_on_after_a_fault(server: DepositServer, folder: Path, fault: Fault) -> None:
    server.fault(fault, fault, on=BUCKETS)
    result = upload(folder, publish=True)
    assert server.published == [result.record.number]
    assert sent(server) == 3
    assert len(server.waited) == 2  # type: ignore[attr-defined]


def test_an_interrupted_upload_continues_its_draft(server: DepositServer, folder: Path) -> None:
    server.fault(*[Fault(500, after=200)] * http.policy.attempts, on=BUCKETS)
    # The answer may be lost, since the server closes the connection with bytes still unread.
    with pytest.raises(
        ContributionError, match=r"(?s)(500|the connection broke).*The draft is kept"
    ):
        upload(folder, publish=True)
    assert server.published == []
    upload(folder, publish=True)
    assert (len(server.deposits), server.published) == (1, [7100001])


def test_retry_after_is_obeyed(server: DepositServer, folder: Path) -> None:
    server.fault(status(429, retry_after=7), on=DEPOSITS)  # of a POST too
    upload(folder)
    assert len(server.deposits) == 1
    assert any(7 <= wait < 8 for wait in server.waited)  # type: ignore[attr-defined]
    server.fault(status(429, retry_after=1000), on=DEPOSITS)
    with pytest.raises(ContributionError, match="wait 17 minutes"):
        upload(folder)


@pytest.mark.parametrize(
    "fault", [status(500), Fault(after=None, end="close")], ids=["500", "lost"]
)
def test_a_publication_is_not_repeated(server: DepositServer, folder: Path, fault: Fault) -> None:
    server.fault(fault, on=PUBLISH)
    if fault.status:  # nothing was published: this is an error, and the next command does it
        with pytest.raises(ContributionError, match="500"):
            upload(folder, publish=True)
    else:  # it was published, and the answer was lost
        assert upload(folder, publish=True).record.published
    assert upload(folder, publish=True).record.published
    assert server.published == [7100001]


def test_the_draft_of_another_model_stays_as_it_is(server: DepositServer, folder: Path) -> None:
    upload(folder)
    (deposit,) = server.deposits.values()
    before = dict(deposit.files), dict(deposit.metadata)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("TOY_MRI_NOISE", "GAN_MRI_KNEE"))
    with pytest.raises(
        ContributionError,
        match=r"(?s)draft of the model TOY_MRI_NOISE, and this is the model GAN_MRI_KNEE.*upload\.json",
    ):
        upload(folder)
    assert (deposit.files, deposit.metadata) == before
    assert len(server.deposits) == 1


def test_a_publication_that_may_have_happened_is_not_denied(
    server: DepositServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(folder)
    ask = Zenodo.get

    def unreachable(zenodo: Zenodo, number: int) -> dict[str, Any]:
        if server.published:
            raise ContributionError("Zenodo cannot be reached.", "Nothing was published.")
        return ask(zenodo, number)

    with monkeypatch.context() as context:
        context.setattr(Zenodo, "get", unreachable)
        server.fault(Fault(after=None, end="close"), on=PUBLISH)
        with pytest.raises(ContributionError) as raised:
            upload(folder, publish=True)
    assert "not known whether" in str(raised.value)
    assert "Nothing was published" not in str(raised.value)
    assert upload(folder, publish=True).record.published
    assert server.published == [7100001]


def test_other_bytes_than_were_sent(server: DepositServer, folder: Path) -> None:
    server.wrong_md5 = 1
    upload(folder)  # sent again
    assert sent(server) == 2
    (folder / "model.py").write_text((folder / "model.py").read_text() + "\n# changed\n")
    server.wrong_md5 = 2
    with pytest.raises(ContributionError, match=r"(?s)other bytes.*sent +md5.*received md5.*proxy"):
        upload(folder, publish=True)
    assert server.deposits[7100001].files == {}
    assert server.published == []


FAULTS = {
    401: ("ZENODO_SANDBOX_TOKEN.*401", "separate tokens"),
    403: ("403", "lacks a scope.*deposit:write"),
    409: ("409", "again in a minute"),
    400: ("400", "Correct what it names"),
    413: ("413", "50 GB"),
}


@pytest.mark.parametrize("code", FAULTS)
def test_each_fault_says_what_to_do(server: DepositServer, folder: Path, code: int) -> None:
    problem, hint = FAULTS[code]
    server.fault(status(code), on=BUCKETS)
    with pytest.raises(ContributionError) as raised:
        upload(folder, publish=True)
    assert re.search(problem, raised.value.problem)
    assert re.search(hint, raised.value.hint)
    assert TOKEN not in str(raised.value)
    assert server.published == []


def test_a_scope_that_is_missing_for_the_publication_alone(
    server: DepositServer, folder: Path
) -> None:
    server.scopes = {"deposit:write"}
    with pytest.raises(ContributionError, match="deposit:actions"):
        upload(folder, publish=True)
    server.scopes.add("deposit:actions")
    assert upload(folder, publish=True).record.published
    assert sent(server) == 1


def test_the_fields_that_zenodo_refuses_are_named(server: DepositServer, folder: Path) -> None:
    server.refused = {"metadata.creators": "Not a valid name."}
    with pytest.raises(ContributionError, match=r"400.*metadata\.creators: Not a valid name"):
        upload(folder)


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("MIT", "mit"),
        ("MIT License", "mit"),
        ("CC BY 4.0", "cc-by-4.0"),
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
        ("CC0", "cc0-1.0"),
        ("Apache-2.0", "apache-2.0"),
        ("Apache 2.0", "apache-2.0"),
        ("BSD-3-Clause", "bsd-3-clause"),
    ],
)
def test_licenses_get_the_names_that_zenodo_knows(text: str, identifier: str) -> None:
    assert zenodo_metadata.license_id(text) == identifier


def test_a_license_is_not_replaced_silently(
    server: DepositServer, folder: Path, package: Make
) -> None:
    server.license = "cc-by-4.0"
    with pytest.raises(ContributionError, match=r"license mit and took cc-by-4\.0"):
        upload(folder, publish=True)
    assert server.published == []
    with pytest.raises(ContributionError, match="SPDX"):
        upload(package(folder="other", license="ask us"))


# ----------------------------------------------------------------------------------------------------- tokens
def test_tokens_come_from_the_environment_or_the_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    from keyring.backends.fail import Keyring as Fail

    class Memory(keyring.backend.KeyringBackend):
        priority = 1  # type: ignore[assignment]

        def get_password(self, service: str, username: str) -> str | None:
            return {("medzoo", "GITHUB_TOKEN"): TOKEN}.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    try:
        keyring.set_keyring(Memory())
        assert tokens.token(tokens.GITHUB).value == TOKEN
        monkeypatch.setenv("GITHUB_TOKEN", "other\n")
        assert tokens.token(tokens.GITHUB).value == "other"
        keyring.set_keyring(Fail())
        with pytest.raises(
            ContributionError, match=r"(?s)ZENODO_TOKEN.*keyring set medzoo ZENODO_TOKEN"
        ):
            tokens.token(tokens.ZENODO)
    finally:
        keyring.set_keyring(before)


def test_a_token_is_not_printed_and_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TOKEN not in repr(tokens.Token(tokens.GITHUB, TOKEN))
    monkeypatch.setenv("GITHUB_TOKEN", f"{TOKEN}\nand more")
    with pytest.raises(ContributionError) as raised:
        tokens.token(tokens.GITHUB)
    assert TOKEN not in str(raised.value)


def test_a_token_is_not_sent_over_an_open_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDZOO_DEPOSITS", "http://zenodo.example.org")
    monkeypatch.setenv("ZENODO_SANDBOX_TOKEN", TOKEN)
    with pytest.raises(ContributionError, match="not secure"):
        upload(folder)


# ----------------------------------------------------------------------------------------------- command line
COMMAND = ["contribute", "upload", "--env", "current"]


def test_no_output_of_any_command_holds_the_token(
    server: DepositServer,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server repeats the token in each of its errors."""
    caplog.set_level("DEBUG")
    for code in (400, 401, 403, 404, 409, 413, 429, 500):
        for on in (DEPOSITS, BUCKETS):
            server.fault(*[status(code)] * http.policy.attempts, on=on)
            assert cli.main([*COMMAND, str(folder)]) == 11, (code, on)
            for faults in server._faults.values():
                faults.clear()
    server.fault(status(401), on=DEPOSITS)
    with pytest.raises(ContributionError):
        cli.main([*COMMAND, str(folder), "--debug"])
    for faults in server._faults.values():
        faults.clear()
    assert cli.main([*COMMAND, str(folder), "--publish", "--yes"]) == 0
    output = capsys.readouterr()
    said = output.out + output.err + caplog.text
    assert "[token]" in said  # it was there
    assert TOKEN not in said
    written = [p for p in folder.parent.rglob("*") if p.is_file()]
    assert [p for p in written if TOKEN.encode() in p.read_bytes()] == []


def test_the_command_asks_before_it_publishes(
    server: DepositServer,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish = [*COMMAND, str(folder), "--publish"]
    assert cli.main(publish) == 2  # no terminal
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert cli.main(publish) == 0
    assert "draft, which only you can see" in capsys.readouterr().out
    assert server.published == []
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert cli.main(publish) == 0
    output = capsys.readouterr().out
    assert ZIP in output
    assert "published" in output
    assert server.published == [7100001]
