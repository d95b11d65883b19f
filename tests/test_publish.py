"""A set of samples as a data set on Zenodo: what arrives is the set, and what must not be published is refused."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from deposit_server import BUCKETS, TOKEN, DepositServer
from PIL import Image
from zenodo_server import status

import medzoo
from medzoo import cli
from medzoo.errors import ContributionError, DatasetError, InputError
from medzoo.publishing import publish

WHO = ["Curie, Marie"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[DepositServer]:
    with DepositServer() as server:
        monkeypatch.setenv("MEDZOO_DEPOSITS", server.url)
        monkeypatch.setenv("ZENODO_SANDBOX_TOKEN", TOKEN)
        yield server


@pytest.fixture
def masses(toy: Callable[..., int], tmp_path: Path) -> Path:
    """A small set, whose model's license and data allow everything."""
    number = toy(datasets=[{"name": "Noise", "license": "CC BY 3.0", "doi": "10.1234/noise"}])
    medzoo.generate(number, 4, seed=3, out=tmp_path / "masses")
    return tmp_path / "masses"


def test_the_zip_is_the_set(server: DepositServer, masses: Path, tmp_path: Path) -> None:
    result = publish(masses, authors=WHO)
    (deposit,) = server.deposits.values()
    assert set(deposit.files) == {"masses.zip", "README.md", "sheet.png"}
    with zipfile.ZipFile(io.BytesIO(deposit.files["masses.zip"])) as archive:
        assert "masses/run.log" not in archive.namelist()  # it names hosts and times
        archive.extractall(tmp_path / "copy")
    report = medzoo.verify(tmp_path / "copy" / "masses")
    assert (report.ok, report.extra) == (True, ())
    copy = medzoo.read(tmp_path / "copy" / "masses")
    assert (copy.images == medzoo.read(masses).images).all()
    metadata = deposit.metadata
    assert (metadata["upload_type"], metadata["license"]) == ("dataset", "mit")
    assert metadata["title"] == "4 synthetic samples of 00901_TOY_MRI_NOISE 1.0.0, seed 3"
    assert {"identifier": "10.1234/noise", "relation": "isDerivedFrom"} in metadata[
        "related_identifiers"
    ]
    card = deposit.files["README.md"].decode()
    assert "Training data: Noise (CC BY 3.0)" in card
    assert "Curie, Marie" in card
    assert Image.open(io.BytesIO(deposit.files["sheet.png"])).width > 100
    assert server.published == []
    assert "draft" in str(result)


def test_the_doi_is_written_into_the_set(server: DepositServer, masses: Path) -> None:
    result = publish(masses, authors=WHO, publish=True)
    written = json.loads((masses / "published.json").read_text())
    assert (written["doi"], written["published"]) == (result.record.doi, True)
    assert result.record.doi == "10.5072/zenodo.7100001"
    report = medzoo.verify(masses)
    assert (report.ok, report.extra) == (True, ())


def test_a_set_is_published_once(server: DepositServer, masses: Path) -> None:
    first = publish(masses, authors=WHO)
    assert publish(masses, authors=WHO, publish=True).record.number == first.record.number
    assert publish(masses, authors=WHO, publish=True).record.published
    assert (len(server.deposits), server.published) == (1, [7100001])
    assert sum(s.method == "PUT" and BUCKETS in s.path for s in server.log) == 3


def test_shards_are_sent_as_they_are(
    server: DepositServer, toy: Callable[..., int], tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    medzoo.generate(toy(), 6, seed=1, out=folder, format="webdataset", shard_samples=2)
    publish(folder, authors=WHO, license="CC0")
    (deposit,) = server.deposits.values()
    shards = {f"{k:06d}.tar" for k in range(3)}
    beside = {"manifest.jsonl", "provenance.json", "README.md", "sheet.png"}
    assert set(deposit.files) == shards | beside
    assert deposit.files["000001.tar"] == (folder / "shards" / "000001.tar").read_bytes()
    assert "`shards`" in deposit.files["README.md"].decode()


def test_a_damaged_or_unfinished_set_is_refused(
    server: DepositServer, masses: Path, tmp_path: Path
) -> None:
    picture = next((masses / "images").iterdir())
    content = picture.read_bytes()
    picture.write_bytes(content[:-1] + b"?")
    with pytest.raises(DatasetError, match=r"(?s)changed.*not published"):
        publish(masses, authors=WHO)
    picture.write_bytes(content)
    (masses / "provenance.json").unlink()
    with pytest.raises(DatasetError):
        publish(masses, authors=WHO)
    assert server.log == []


@pytest.mark.parametrize(
    ("model", "data", "asks"),
    [
        ("MIT", "CC BY-NC 4.0", "non-commercial"),
        ("CC BY 4.0", "CC BY-SA 4.0", "the same license"),
        ("CC BY 4.0", "CC BY-NC-ND 4.0", "no changed copies"),
        ("CC BY-NC 4.0", "CC BY-NC-SA 4.0", "the same license"),
        ("MIT", "research only, on request", "cannot tell"),
        ("MIT", "ODbL-1.0", "the same license"),
        ("MIT", "AGPL-3.0-only", "the same license"),
    ],
)
def test_a_license_that_data_forbid_is_not_assumed(
    server: DepositServer, toy: Callable[..., int], tmp_path: Path, model: str, data: str, asks: str
) -> None:
    number = toy(license=model, datasets=[{"name": "Scans", "license": data}])
    medzoo.generate(number, 1, out=tmp_path / "set")
    with pytest.raises(ContributionError, match=rf"(?s)Scans.*{asks}.*--license"):
        publish(tmp_path / "set", authors=WHO)
    assert (
        publish(tmp_path / "set", authors=WHO, license="CC BY-NC-SA 4.0").license
        == "cc-by-nc-sa-4.0"
    )


def test_a_license_that_the_model_has_too(
    server: DepositServer, toy: Callable[..., int], tmp_path: Path
) -> None:
    number = toy(license="CC BY-NC 4.0", datasets=[{"name": "Scans", "license": "CC BY-NC 3.0"}])
    medzoo.generate(number, 1, out=tmp_path / "set")
    assert publish(tmp_path / "set", authors=WHO).license == "cc-by-nc-4.0"


def test_a_set_of_a_model_that_is_not_registered_needs_a_license(
    server: DepositServer, toy: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medzoo.generate(toy(), 1, out=tmp_path / "set")
    monkeypatch.delenv("MEDZOO_MODEL_CONFIGS")
    with pytest.raises(ContributionError, match=r"(?s)not registered here.*--license"):
        publish(tmp_path / "set", authors=WHO)


def test_the_command(
    server: DepositServer, masses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["publish", str(masses)]
    assert cli.main(command) == 11
    assert "--author" in capsys.readouterr().err
    command += ["--author", "Curie, Marie"]
    server.fault(status(401), on=BUCKETS)
    assert cli.main(command) == 11
    assert cli.main(command) == 0
    assert cli.main([*command, "--publish"]) == 2  # no terminal to ask on
    assert server.published == []
    assert cli.main([*command, "--publish", "--yes"]) == 0
    output = capsys.readouterr()
    assert TOKEN not in output.out + output.err
    assert "10.5072/zenodo.7100001" in output.out
    assert server.published == [7100001]
    assert yaml.safe_load((masses / "published.json").read_text())["license"] == "mit"


def test_sets_that_differ_only_in_condition_have_their_own_drafts(
    server: DepositServer, toy: Callable[..., int], tmp_path: Path
) -> None:
    number, records = toy(), []
    for condition in ("benign", "malignant"):
        folder = tmp_path / condition
        medzoo.generate(number, 4, seed=3, out=folder, condition=condition)
        records.append(publish(folder, authors=WHO).record)
    first, second = (server.deposits[record.number] for record in records)
    assert first.number != second.number
    assert first.metadata["title"] == second.metadata["title"]
    assert "benign.zip" in first.files
    assert "malignant.zip" in second.files


@pytest.mark.parametrize("published", [False, True])
def test_a_set_whose_upload_json_was_lost_finds_its_own_record(
    server: DepositServer, toy: Callable[..., int], tmp_path: Path, published: bool
) -> None:
    number, records = toy(), {}
    for condition in ("benign", "malignant"):
        folder = tmp_path / condition
        medzoo.generate(number, 4, seed=3, out=folder, condition=condition)
        records[folder] = publish(folder, authors=WHO, publish=published).record
    for folder, record in records.items():
        state = folder.with_name(f"{folder.name}-published") / "upload.json"
        for new_version in (False, True):
            state.unlink()
            again = publish(folder, authors=WHO, publish=published, new_version=new_version)
            assert again.record == record
    assert len(server.deposits) == 2


def test_the_draft_of_a_new_version_is_found_without_upload_json(
    server: DepositServer, masses: Path
) -> None:
    first = publish(masses, authors=WHO, publish=True).record
    who = [*WHO, "Curie, Pierre"]
    second = publish(masses, authors=who, version="2.0.0", new_version=True).record
    assert server.deposits[second.number].concept == server.deposits[first.number].concept
    for new_version in (True, first.number):
        (masses.with_name("masses-published") / "upload.json").unlink()
        again = publish(masses, authors=who, version="2.0.0", new_version=new_version)
        assert again.record == second
    assert len(server.deposits) == 2


def test_a_part_of_a_set_is_published_with_its_own_size(
    server: DepositServer, toy: Callable[..., int], tmp_path: Path
) -> None:
    whole = medzoo.generate(toy(), 6, seed=3)
    whole[:2].save(tmp_path / "two")
    whole[::-1].save(tmp_path / "turned")
    titles, cards = [], []
    for name in ("two", "turned"):
        number = publish(tmp_path / name, authors=WHO).record.number
        titles.append(server.deposits[number].metadata["title"])
        cards.append(server.deposits[number].files["README.md"].decode())
    model = "00901_TOY_MRI_NOISE 1.0.0"
    assert titles[0] == f"2 synthetic samples of {model}, seed 3, part of 6"
    assert titles[1] == f"6 synthetic samples of {model}, seed 3"
    assert "\n2 samples, part of 6, format" in cards[0]
    assert "\n6 samples, format" in cards[1]
    assert "medzoo reproduce" not in " ".join(" ".join(cards).split())


def test_a_whole_set_says_that_it_can_be_reproduced(server: DepositServer, masses: Path) -> None:
    publish(masses, authors=WHO)
    (deposit,) = server.deposits.values()
    card = " ".join(deposit.files["README.md"].decode().split())
    assert "`medzoo reproduce` makes the set again" in card


@pytest.mark.parametrize("keys", [(), ("model", "version", "source")])
def test_a_set_that_no_model_made_is_refused(
    server: DepositServer, masses: Path, tmp_path: Path, keys: tuple[str, ...]
) -> None:
    made = medzoo.read(masses)
    facts = {key: made.provenance[key] for key in (*keys, "outputs", "label_names")}
    medzoo.Samples(made.columns, made.outputs, made.indices, facts).save(tmp_path / "own")
    missing = "n, license" if keys else "model, version, n, license, source"
    with pytest.raises(ContributionError, match=rf"(?s){missing} is missing from provenance.json"):
        publish(tmp_path / "own", authors=WHO, license="MIT")
    assert server.log == []


def again_with_another_seed(masses: Path) -> None:
    """Another set of the same model, in a folder of the same name."""
    model = json.loads((masses / "provenance.json").read_text())["model"]
    shutil.rmtree(masses)
    medzoo.generate(model, 4, seed=4, out=masses)


def test_a_new_version_of_nothing_is_refused(server: DepositServer, masses: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)No earlier upload.*--new-version 1234567"):
        publish(masses, authors=WHO, new_version=True)
    assert server.deposits == {}
    assert not (masses / "published.json").exists()
    publish(masses, authors=WHO)
    assert len(server.deposits) == 1


def test_the_draft_of_a_set_that_was_replaced_stays_as_it_is(
    server: DepositServer, masses: Path
) -> None:
    first = publish(masses, authors=WHO).record
    deposit = server.deposits[first.number]
    before = dict(deposit.files), dict(deposit.metadata)
    again_with_another_seed(masses)
    for new_version in (False, True):
        with pytest.raises(ContributionError, match=r"(?s)is the draft of the set.*upload\.json"):
            publish(masses, authors=WHO, new_version=new_version)
    assert (deposit.files, deposit.metadata) == before
    assert len(server.deposits) == 1
    (masses.with_name("masses-published") / "upload.json").unlink()  # as the error says
    second = publish(masses, authors=WHO).record
    assert second.number != first.number
    assert (deposit.files, deposit.metadata) == before


def test_a_draft_that_was_deleted_makes_room_for_that_of_another_set(
    server: DepositServer, masses: Path
) -> None:
    first = publish(masses, authors=WHO).record
    again_with_another_seed(masses)
    server.make()  # no number is given twice
    server.make()
    del server.deposits[first.number]
    second = publish(masses, authors=WHO).record
    assert publish(masses, authors=WHO).record.number == second.number


def test_a_record_of_a_set_that_was_replaced_is_named(server: DepositServer, masses: Path) -> None:
    first = publish(masses, authors=WHO, publish=True).record
    again_with_another_seed(masses)
    with pytest.raises(ContributionError, match=r"(?s)It is of the set.*--set-version.*--new-ver"):
        publish(masses, authors=WHO, publish=True)
    assert server.published == [first.number]
    second = publish(masses, authors=WHO, publish=True, new_version=True, version="2.0.0").record
    assert server.deposits[second.number].concept == server.deposits[first.number].concept


def test_a_draft_is_not_taken_for_a_new_version_of_another_record(
    server: DepositServer, toy: Callable[..., int], masses: Path, tmp_path: Path
) -> None:
    medzoo.generate(901, 2, seed=9, out=tmp_path / "older")
    older = publish(tmp_path / "older", authors=WHO, publish=True).record
    draft = publish(masses, authors=WHO).record
    with pytest.raises(ContributionError, match=rf"no version of record {older.number}"):
        publish(masses, authors=WHO, new_version=older.number)
    assert len(server.deposits) == 2
    del server.deposits[draft.number]
    newer = publish(masses, authors=WHO, new_version=older.number, version="2.0.0").record
    assert server.deposits[newer.number].concept == server.deposits[older.number].concept
    assert publish(masses, authors=WHO, new_version=older.number, version="2.0.0").record == newer


def test_a_set_made_from_pictures_of_the_user_needs_a_license(
    server: DepositServer, toy: Callable[..., int], tmp_path: Path
) -> None:
    scans = {"kind": "image", "help": "Scans.", "shape": [1, 8, 8], "required": False}
    pictures = np.zeros((3, 1, 8, 8), np.uint8)
    medzoo.generate(toy(inputs={"scans": scans}), 3, out=tmp_path / "set", inputs=pictures)
    with pytest.raises(ContributionError, match=r"(?s)your pictures \(scans\).*--license"):
        publish(tmp_path / "set", authors=WHO)
    number = publish(tmp_path / "set", authors=WHO, license="CC BY-NC 4.0").record.number
    card = server.deposits[number].files["README.md"].decode()
    assert "Made from pictures of the authors: 3 as `scans`." in card
