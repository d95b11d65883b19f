"""The nightly run: what it tests, what it writes of each model, and the page made of all of them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import NUMPY_MODEL, ROOT, Zenodo

import medzoo
from benchmarks import nightly
from medzoo.config import read_config
from medzoo.files import sha256_of

Toy = Callable[..., int]
Capture = pytest.CaptureFixture[str]
WORKFLOW = ROOT / ".github" / "workflows" / "nightly.yml"


def result(model: str, version: str, state: str, **more: Any) -> dict[str, Any]:
    finding = {
        "name": "code",
        "state": "ok" if state.startswith("passed") else "wrong",
        "text": "it <b>|</b> speaks",
        "hint": "",
    }
    return {
        "id": model,
        "version": version,
        "state": state,
        "findings": [finding],
        "error": "",
        "seconds": 90,
        "bytes": 92_434_021,
        "sha256": "ab" * 32,
        "at": "2026-01-01 00:00",
        **more,
    }


def test_every_published_version_is_listed_for_the_workflow(capsys: Capture) -> None:
    assert nightly.main(["list"]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1  # a workflow's output is one line
    listed = json.loads(line)
    assert [int(entry["model"][:5]) for entry in listed] == list(range(1, 24))
    assert {"model": "00008_C-DCGAN_MMG_MASSES", "version": "1.0.1"} in listed
    for entry in listed:
        assert medzoo.info(entry["model"]).version(entry["version"]).source.startswith("zenodo:")


@pytest.mark.slow
def test_a_model_is_tested_in_a_process_of_its_own(
    toy: Toy, tmp_path: Path, capsys: Capture
) -> None:
    number = toy()
    assert nightly.main(["test", str(number), "--out", str(tmp_path / "results")]) == 0
    (path,) = (tmp_path / "results").iterdir()
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (path.name, found["id"], found["state"]) == (
        "00901_TOY_MRI_NOISE-1.0.0.json",
        "00901_TOY_MRI_NOISE",
        "passed",
    )
    assert {f["name"] for f in found["findings"]} >= {"code", "samples", "seed"}
    assert "passed" in capsys.readouterr().out

    toy(NUMPY_MODEL.replace("return {", "raise ValueError('no more') or {"))
    assert (
        nightly.main(
            ["test", str(number), "--version", "1.0.0", "--out", str(tmp_path / "results")]
        )
        == 1
    )
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["state"] == "failed"
    assert "no more" in nightly.row(found)[3]


@pytest.mark.slow
def test_what_ends_before_it_runs_says_why(toy: Toy, tmp_path: Path) -> None:
    toy(files={"model.py": "0" * 64})
    found = nightly.examine("901")
    assert (found["state"], found["findings"]) == ("failed", [])
    assert "model.py" in found["error"]
    assert "model.py" in nightly.row(found)[3]


def test_the_page_counts_and_names_what_failed(tmp_path: Path, capsys: Capture) -> None:
    versions = nightly.published()
    results = tmp_path / "results"
    for k, (config, version) in enumerate(versions[1:]):
        state = ("passed", "passed with trust", "failed")[min(k, 2) if k < 3 else 0]
        folder = results / f"result-{config.id}"
        folder.mkdir(parents=True)
        content = json.dumps(result(config.id, version.name, state))
        (folder / f"{config.id}-{version.name}.json").write_text(content, encoding="utf-8")
    assert nightly.main(["page", str(results), "--out", str(tmp_path / "site")]) == 0
    table = capsys.readouterr().out.splitlines()
    failed, silent = versions[3][0].id, versions[0][0].id
    assert {line.split(" | ")[0].lstrip("| ") for line in table[2:4]} == {
        failed,
        silent,
    }  # those first
    assert len(table) == 2 + len(versions)
    assert all(line.replace("\\|", "").count("|") == len(nightly.HEAD) for line in table)

    site = tmp_path / "site"
    whole = json.loads((site / "nightly.json").read_text(encoding="utf-8"))
    assert (whole["passed"], whole["failed"]) == (len(versions) - 2, 2)
    states = {m["id"]: m["state"] for m in whole["models"]}
    assert (states[failed], states[silent]) == ("failed", "no result")
    badge = json.loads((site / "badge.json").read_text(encoding="utf-8"))
    assert (badge["message"], badge["color"], badge["schemaVersion"]) == (
        "21 of 23 run",
        "orange",
        1,
    )
    page = (site / "index.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert page.count("<tr") == 1 + len(versions)
    assert "92.4 MB" in page
    assert "ab" * 32 in page


@pytest.mark.parametrize(("good", "color"), [(23, "brightgreen"), (12, "orange"), (3, "red")])
def test_the_badge_shows_how_it_stands(tmp_path: Path, good: int, color: str) -> None:
    results = tmp_path / "results"
    results.mkdir()
    for config, version in nightly.published()[:good]:
        (results / f"{config.id}.json").write_text(
            json.dumps(result(config.id, version.name, "passed")), encoding="utf-8"
        )
    nightly.publish(results, tmp_path / "site")
    badge = json.loads((tmp_path / "site" / "badge.json").read_text(encoding="utf-8"))
    assert (badge["message"], badge["color"]) == (f"{good} of 23 run", color)


def test_the_workflow_runs_what_there_is_and_may_write_only_where_it_must() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    text = WORKFLOW.read_text(encoding="utf-8")
    assert set(re.findall(r"-m benchmarks\.nightly (\w+)", text)) == {
        "list",
        "fetch",
        "test",
        "confirm",
        "page",
    }
    assert workflow["permissions"] == {"contents": "read"}
    writing = {
        name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job
    }
    assert writing == {
        "confirm": {"actions": "read", "contents": "write", "pull-requests": "write"},
        "report": {"contents": "read", "issues": "write"},
        "publish": {"pages": "write", "id-token": "write"},
    }
    assert workflow["jobs"]["test"]["strategy"]["max-parallel"] <= 2
    saving = {
        name
        for name, job in workflow["jobs"].items()
        for step in job["steps"]
        if step.get("uses", "").startswith(("actions/cache/save", "actions/cache@"))
    }
    assert saving == {"download"}  # which runs nothing of a package
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get(
                "run", ""
            )  # what others named goes in through the environment
            if step.get("uses", "").startswith("./"):
                assert (ROOT / step["uses"] / "action.yml").is_file()


def test_a_digest_that_two_runs_saw_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = tmp_path / "configs"
    shutil.copytree(ROOT / "model_configs", folder)
    kept = {p.name: p.read_text(encoding="utf-8") for p in folder.glob("*.yaml")}
    configs = {config.id: read_config(folder / config.path.name) for config in medzoo.list_models()}
    monkeypatch.setattr(nightly, "resolve", configs.__getitem__)
    for name, seen in {
        "now": {"00001_DCGAN_MMG_CALC_ROI": "a", "00021_CYCLEGAN_BRAIN_MRI_T1_T2": "b"},
        "earlier": {"00001_DCGAN_MMG_CALC_ROI": "c", "00021_CYCLEGAN_BRAIN_MRI_T1_T2": "b"},
    }.items():
        (tmp_path / name).mkdir()
        for model, letter in seen.items():
            (version,) = [v.name for v in configs[model].versions.values() if v.scheme == "zenodo"]
            entry = {"id": model, "version": version, "sha256": letter * 64, "bytes": 77}
            (tmp_path / name / f"{model}.json").write_text(json.dumps(entry), encoding="utf-8")
    assert nightly.main(["confirm", str(tmp_path / "now"), str(tmp_path / "earlier")]) == 0
    assert capsys.readouterr().out.split() == ["00021_CYCLEGAN_BRAIN_MRI_T1_T2"]
    changed = [n for n in kept if (folder / n).read_text(encoding="utf-8") != kept[n]]
    assert changed == ["00021_CYCLEGAN_BRAIN_MRI_T1_T2.yaml"]
    version = read_config(folder / changed[0]).default
    assert (version.sha256, version.size, version.sha256_unconfirmed) == ("b" * 64, 77, "")


def test_a_package_is_fetched_without_running_it(
    zenodo: Zenodo, tmp_path: Path, capsys: Capture
) -> None:
    zenodo.register({"toy/model.py": b"raise SystemExit('this ran')"}, digest="")
    assert nightly.main(["fetch", "901", "--out", str(tmp_path / "digests")]) == 0
    (path,) = (tmp_path / "digests").iterdir()
    result = json.loads(path.read_text(encoding="utf-8"))
    (archive,) = (tmp_path / "cache" / "downloads").rglob("package.zip")
    assert result == {
        "id": "00901_TOY_MRI_NOISE",
        "version": "1.0.0",
        "sha256": sha256_of(archive),
        "bytes": archive.stat().st_size,
    }
    assert capsys.readouterr().out.split() == [result["sha256"]]
