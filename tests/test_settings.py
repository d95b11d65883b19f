"""Settings: read when asked for, never at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medzoo import settings
from medzoo.errors import InputError


def test_the_cache_is_where_the_environment_says_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "a"))
    assert settings.cache_folder() == tmp_path / "a"
    monkeypatch.setenv("MEDZOO_CACHE", "~/b")
    assert settings.cache_folder() == Path.home() / "b"
    monkeypatch.delenv("MEDZOO_CACHE")
    assert settings.cache_folder().name == "medzoo"


def test_asking_for_the_cache_makes_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "new"))
    settings.cache_folder()
    assert not (tmp_path / "new").exists()


def test_further_config_folders_come_after_the_shipped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", os.pathsep.join(["/one", "", "/two"]))
    assert settings.config_folders() == [
        settings.shipped("model_configs"),
        Path("/one"),
        Path("/two"),
    ]


def test_the_shipped_folders_exist() -> None:
    assert settings.shipped("model_configs").is_dir()
    assert settings.shipped("starter_models").is_dir()


@pytest.mark.parametrize(
    ("value", "quiet"),
    [
        ("1", True),
        ("yes", True),
        ("0", False),
        ("", False),
        ("False", False),
        (" no ", False),
        ("OFF", False),
    ],
)
def test_quiet_reads_yes_and_no(monkeypatch: pytest.MonkeyPatch, value: str, quiet: bool) -> None:
    monkeypatch.setenv("MEDZOO_QUIET", value)
    assert settings.quiet() is quiet


def test_mirrors_are_in_order_and_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.mirrors() == []
    monkeypatch.setenv("MEDZOO_MIRROR", " /a folder , https://b.org/c:1/, ,")
    assert settings.mirrors() == ["/a folder", "https://b.org/c:1/"]


def test_zenodo_is_zenodo_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_ZENODO", "https://sandbox.zenodo.org/")
    assert settings.zenodo() == "https://sandbox.zenodo.org"
    monkeypatch.setenv("MEDZOO_ZENODO", "")
    assert settings.zenodo() == "https://zenodo.org"


def test_progress_is_as_asked_else_for_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_QUIET", "0")
    assert settings.show_progress(True)
    assert not settings.show_progress(False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert settings.show_progress(None)
    monkeypatch.setenv("MEDZOO_QUIET", "1")
    assert not settings.show_progress(None)
    monkeypatch.setattr("sys.stderr", None)  # as under pythonw
    monkeypatch.setenv("MEDZOO_QUIET", "0")
    assert not settings.show_progress(None)


@pytest.mark.parametrize("given", [5, None, b"bytes", "nul\0byte", ""])
def test_what_is_no_path_is_an_input_error(given: object) -> None:
    with pytest.raises(InputError, match=r"out=.* is not a valid path"):
        settings.user_path(given, "out")  # type: ignore[arg-type]


def test_a_tilde_of_nobody_is_a_name_like_any_other() -> None:
    assert settings.user_path("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")


NOTEBOOK = """
import os, sys
os.environ.pop("MEDZOO_QUIET", None)
sys.modules["ipywidgets"] = None  # not installed
from medzoo import settings
with settings.progress_bar()(total=3, disable=not settings.show_progress(None)) as bar:
    bar.update(3)
"""


def test_a_notebook_without_widgets_shows_a_bar_of_text_and_no_warning() -> None:
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    kernel, client = manager.start_new_kernel(kernel_name="python3", stderr=subprocess.DEVNULL)
    shown: list[dict[str, str]] = []
    try:
        client.execute_interactive(
            NOTEBOOK, timeout=60, output_hook=lambda message: shown.append(message["content"])
        )
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    said = "".join(content.get("text", "") for content in shown)
    assert "3/3" in said
    assert "Warning" not in said
    assert not any("traceback" in content for content in shown)


@pytest.mark.parametrize(("variables", "shown"), [({}, "False"), ({"PYCHARM_HOSTED": "1"}, "True")])
def test_a_console_of_an_ide_shows_progress_and_a_pipe_does_not(
    variables: dict[str, str], shown: str
) -> None:
    code = "from medzoo import settings; import sys; print(settings.show_progress(None)); "
    code += "settings.progress_bar(); print('tqdm.notebook' in sys.modules)"
    kept = {k: v for k, v in os.environ.items() if k not in {"MEDZOO_QUIET", "PYCHARM_HOSTED"}}
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=kept | variables,
    )
    assert done.stdout.split() == [shown, "False"]
