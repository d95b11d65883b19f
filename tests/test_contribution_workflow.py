"""The workflows on a contributed model: what runs its code may write nowhere, and what comments runs none of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import NUMPY_MODEL, ROOT
from github_server import TOKEN, GitHubServer
from test_submit import server  # noqa: F401  (a fixture)

from medzoo.publishing import comment, trial

FOLDER = ROOT / ".github" / "workflows"
RUN, COMMENT = (
    yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    for name in ("contribution", "contribution-comment")
)
ID = "00901_TOY_MRI_NOISE"


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_the_workflow_that_runs_contributed_code_has_no_rights() -> None:
    text = (FOLDER / "contribution.yml").read_text(encoding="utf-8")
    assert RUN[True] == {"pull_request": {"paths": ["model_configs/**"]}}  # not pull_request_target
    assert RUN["permissions"] == {"contents": "read"}
    assert not [job for job in RUN["jobs"].values() if "permissions" in job]
    assert "secrets" not in text
    assert "github.token" not in text
    assert "actions/cache" not in text
    for step in steps(RUN):
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False
    (script,) = [s["run"] for s in steps(RUN) if "medzoo.publishing.trial" in s.get("run", "")]
    for part in ("--net", "--reuid=65534", "--no-new-privs", "env -i", "MEDZOO_OFFLINE=1"):
        assert part in script


def test_the_workflow_that_may_write_runs_nothing_of_the_pull_request() -> None:
    assert COMMENT[True]["workflow_run"] == {"workflows": [RUN["name"]], "types": ["completed"]}
    (job,) = COMMENT["jobs"].values()
    assert job["permissions"] == {"actions": "read", "contents": "write", "pull-requests": "write"}
    checkouts = [s for s in job["steps"] if s.get("uses", "").startswith("actions/checkout")]
    assert [set(c["with"]) for c in checkouts] == [{"persist-credentials"}]  # the main branch
    used = [s["uses"] for s in job["steps"] if "uses" in s]
    assert [name for name in used if name.startswith("actions/download-artifact@")]


@pytest.mark.parametrize("workflow", [RUN, COMMENT], ids=["contribution", "comment"])
def test_no_text_of_a_pull_request_becomes_part_of_a_script(workflow: dict[str, Any]) -> None:
    assert [s["run"] for s in steps(workflow) if "${{" in s.get("run", "")] == []


def test_a_trial_writes_report_and_sheet(toy: Callable[..., int], tmp_path: Path) -> None:
    toy()
    out = tmp_path / "results"
    assert trial.main([f"model_configs/{ID}.yaml\n"], out) == 0
    assert "ok       samples" in (out / f"{ID}.txt").read_text()
    assert (out / f"{ID}.png").read_bytes().startswith(comment.PNG)
    toy("import nowhere\n" + NUMPY_MODEL)
    assert trial.main([ID], out) == 11
    assert "nowhere" in (out / f"{ID}.txt").read_text()


WRITES = """
import os
from pathlib import Path
for place in (Path(os.environ["MEDZOO_CACHE"]), Path(__file__).parent):
    try:
        (place / "left-behind").write_text("x")
    except OSError:
        pass
assert "GITHUB_TOKEN" not in os.environ
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="needs root, to become another user",
)
def test_a_trial_works_where_it_may_write_nothing_but_its_results(
    toy: Callable[..., int], tmp_path: Path
) -> None:
    toy(WRITES + NUMPY_MODEL)
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to others
        folder = Path(place)
        folder.chmod(0o755)
        shutil.copytree(tmp_path / "configs", folder / "configs")
        (folder / "cache").mkdir()
        (folder / "results").mkdir()
        (folder / "results").chmod(0o777)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "results"),
            "MEDZOO_CACHE": str(folder / "cache"),
            "MEDZOO_OFFLINE": "1",
            "MEDZOO_QUIET": "1",
            "MEDZOO_MODEL_CONFIGS": str(folder / "configs"),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
        code = [sys.executable, "-m", "medzoo.publishing.trial", str(folder / "results")]
        done = subprocess.run(
            [*command, *code],
            env=env,
            input=f"{ID}.yaml\n",
            text=True,
            capture_output=True,
            check=False,
        )
        report = folder / "results" / f"{ID}.txt"
        said = done.stderr + (report.read_text() if report.is_file() else "")
        wrong = [line for line in said.splitlines() if line.startswith("wrong")]
        # The interpreter may be in the home of root, where no other process of nobody starts one.
        assert all("Permission denied: '/" in line and "python" in line for line in wrong), said
        assert "ok       batch size" in said
        assert (folder / "results" / f"{ID}.png").is_file()
        assert list(folder.rglob("left-behind")) == []


def commented(folder: Path, server: GitHubServer, **changes: str) -> str:  # noqa: F811
    where = {"owner": "author", "branch": f"model/{ID}", "commit": "c0ffee", "run": "https://run"}
    return comment.comment(folder, repository="medzoo/medzoo", **(where | changes))


def test_the_comment_holds_report_and_sheet_and_is_renewed(
    server: GitHubServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    server.open_pull("author", f"model/{ID}")
    (tmp_path / f"{ID}.txt").write_text("ok samples\n```\n# not a heading\x1b[31m")
    (tmp_path / f"{ID}.png").write_bytes(comment.PNG + b"picture")
    assert commented(tmp_path, server) == "The comment was made."
    (made,) = server.comments
    assert made["issue"] == 1
    assert "````\nok samples\n```\n# not a heading?[31m\n````" in made["body"]
    sheets = server.repositories["medzoo/medzoo"].refs[f"sheets/{ID}"]
    assert f"raw/{sheets}/sheet.png" in made["body"]
    (tmp_path / f"{ID}.txt").write_text("now wrong")
    assert commented(tmp_path, server) == "The comment was renewed."
    assert len(server.comments) == 1
    assert "now wrong" in server.comments[0]["body"]
    assert TOKEN not in server.comments[0]["body"]


def test_what_the_run_left_is_limited(server: GitHubServer, tmp_path: Path) -> None:  # noqa: F811
    server.open_pull("author", f"model/{ID}")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / f"{ID}.txt").symlink_to(tmp_path / "secret")
    (tmp_path / "00902_TOY_MRI_NOISE.txt").write_text("x" * 10**6)
    (tmp_path / "00902_TOY_MRI_NOISE.png").write_bytes(b"<svg>")
    (tmp_path / "nobody](x).txt").write_text("hello")
    commented(tmp_path, server)
    body = server.comments[0]["body"]
    assert "secret" not in body
    assert "hello" not in body
    assert "sheet.png" not in body
    assert len(body) < 2 * comment.LONGEST


def test_no_comment_on_another_commit_or_a_closed_pull_request(
    server: GitHubServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    server.open_pull("author", f"model/{ID}")
    assert "no open pull request" in commented(tmp_path, server, commit="other")
    assert "no open pull request" in commented(tmp_path, server, owner="someone")
    assert server.comments == []
