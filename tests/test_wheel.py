"""The built wheel, in an empty environment, outside the repository, without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

BLOCK = "import socket\ndef cut(*_): raise OSError('the network is cut')\nsocket.socket.connect = cut\nsocket.getaddrinfo = cut\n"


def build(folder: Path) -> Path:
    """A wheel built from a copy of what is in the repository, so that nothing is written beside the sources."""
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "demo", "tests", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=ignored, copy_function=shutil.copy)  # the times are new
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", *options, str(source)],
        env=os.environ | {"SOURCE_DATE_EPOCH": "1764374400"},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return next(folder.glob("medzoo-*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_a_wheel_built_again_is_identical(wheel: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "another place")
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_installed_wheel_generates_without_a_network(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    install = [
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run([sys.executable, *install], check=True, stdout=subprocess.DEVNULL)
    (site / "sitecustomize.py").write_text(BLOCK)

    # The packages that medzoo needs are seen through PYTHONPATH; the editable medzoo of this environment is not.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MEDZOO")}
    environment |= {
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "MEDZOO_CACHE": str(tmp_path / "cache"),
    }
    outside = tmp_path / "outside"
    outside.mkdir()

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(python), *arguments],
            cwd=outside,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    assert Path(run("-c", "import medzoo; print(medzoo.__file__)").strip()).is_relative_to(home)
    command = home / ("Scripts/medzoo.exe" if os.name == "nt" else "bin/medzoo")
    subprocess.run(
        [str(command), "generate", "8", "-n", "4", "--out", "x"],
        cwd=outside,
        env=environment,
        check=True,
    )
    assert len(list((outside / "x").rglob("*.png"))) == 4
    assert (
        json.loads((outside / "x" / "provenance.json").read_text())["model"]
        == "00008_C-DCGAN_MMG_MASSES"
    )
    assert "00008_C-DCGAN_MMG_MASSES" in run("-m", "medzoo", "search", "breast mass")
    run("-m", "medzoo", "contribute", "new", "mine", "--name", "GAN_MRI_KNEE")
    assert (outside / "mine" / "model.py").is_file()


@pytest.mark.slow
def test_wheel_is_small_and_holds_each_file_once(wheel: Path) -> None:
    assert wheel.stat().st_size < 60e6
    names = zipfile.ZipFile(wheel).namelist()
    assert "medzoo/model_configs/00008_C-DCGAN_MMG_MASSES.yaml" in names
    locks = {
        f"medzoo/model_configs/locks/{p.name}" for p in (ROOT / "model_configs" / "locks").iterdir()
    }
    assert locks
    assert locks <= set(names)
    assert sum(n.endswith("00008_C-DCGAN_MMG_MASSES/weights.safetensors") for n in names) == 1
    assert not [
        n for n in names if "__pycache__" in n or n.startswith(("tests/", "model_configs/"))
    ]
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "medzoo").rglob("*.py")}
    assert modules <= set(names), "setup.cfg lists every folder of medzoo"
