"""The gallery: static pages of all models, in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import medzoo
from medzoo.cli import main
from medzoo.errors import DatasetError
from medzoo.view.gallery import FACETS, facets_of, gallery

CHROMIUM = shutil.which("chromium")


def shown(page: Path, query: str) -> set[str]:
    """The models that a browser shows for a query."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    address = f"{page.as_uri()}?{query}"
    dom = subprocess.run([*command, address], capture_output=True, text=True, check=True).stdout
    visible = set()
    for tag, identifier in re.findall(r'<li ([^>]*)>.*?href="models/(\w[\w-]*)\.html', dom):
        if not re.search(r'\bhidden(=""|\b)', tag):
            visible.add(identifier)
    (count,) = re.findall(r'<p id="count"[^>]*>(\d+) of \d+ models', dom)
    assert int(count) == len(visible)
    return visible


def test_every_model_has_a_card_and_a_page(tmp_path: Path) -> None:
    page = gallery(tmp_path / "site")
    text = page.read_text(encoding="utf-8")
    for model in medzoo.list_models():
        assert f'href="models/{model.id}.html"' in text
        own = (page.parent / "models" / f"{model.id}.html").read_text(encoding="utf-8")
        assert f"medzoo generate {model.number} -n 4" in own
        assert all(f"<h2>Version {version}</h2>" in own for version in model.versions)
        assert "not for diagnosis" in own


def test_models_with_a_picture_come_first(tmp_path: Path) -> None:
    page = gallery(tmp_path / "site")
    cards = re.findall(r"<li .*?</li>", page.read_text(encoding="utf-8"))
    pictured = ["<img " in card for card in cards]
    assert len(cards) == len(medzoo.list_models())
    assert pictured == sorted(pictured, reverse=True)
    assert any(pictured)


def test_links_lead_to_files_and_to_no_other_host(tmp_path: Path) -> None:
    page = gallery(tmp_path / "site")
    pages = list(page.parent.rglob("*.html"))
    assert len(pages) == len(medzoo.list_models()) + 1
    for path in pages:
        for address in re.findall(r'(?:href|src)="([^"]*)"', path.read_text(encoding="utf-8")):
            assert "//" not in address
            assert (path.parent / address).is_file()
    for name in ("gallery.css", "gallery.js"):
        assert "http" not in (page.parent / name).read_text(encoding="utf-8")


def test_texts_of_a_config_are_escaped(toy: Callable[..., int], tmp_path: Path) -> None:
    evil = "\"><script>alert('x')</script>"
    toy(architecture=evil, license=evil, authors=[evil], citation=evil)
    page = gallery(tmp_path / "site")
    own = page.parent / "models" / "00901_TOY_MRI_NOISE.html"
    for path in (page, own):
        assert "<script>alert" not in path.read_text(encoding="utf-8")
    assert "&lt;script&gt;" in own.read_text(encoding="utf-8")


def test_facets_say_what_a_model_is() -> None:
    facets = facets_of(medzoo.info(109))
    assert set(facets) == set(FACETS)
    assert facets["condition"] == {"condition", "density"}
    assert facets["dimension"] == {"2D"}
    assert facets["package"] == {"bundled"}
    assert facets_of(medzoo.info(107))["dimension"] == {"table"}
    assert facets_of(medzoo.info(104))["status"] == {"demonstration"}


def test_folder_is_new_empty_or_a_gallery(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds no gallery"):
        gallery(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["work.txt"]
    site = tmp_path / "site"
    assert main(["gallery", "--out", str(site)]) == 0
    assert "index.html in a browser" in capsys.readouterr().out
    (site / "models" / "00777_GONE.html").write_text("a model that is no longer listed")
    gallery(site)
    assert not (site / "models" / "00777_GONE.html").exists()
    with pytest.raises(DatasetError, match="could not be written"):
        gallery(tmp_path / "mine" / "work.txt" / "site")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_search_and_filters_in_a_browser(tmp_path: Path) -> None:
    page = gallery(tmp_path / "site")
    models = medzoo.list_models()
    assert shown(page, "") == {model.id for model in models}
    expected = {model.id for model in models if model.organ == "brain"}
    assert shown(page, "organ=brain") == expected
    both = {model.id for model in models if model.organ == "brain" and model.modality == "MRI"}
    assert shown(page, "words=Diffusion+BRAIN&modality=MRI") & both == {
        "00102_DIFFUSION_MRI_BRAIN_TUMOURS",
        "00202_DIFFUSION_MRI_BRATS_SLICES",
        "00203_DIFFUSION_MRI_BRATS_VOLUMES",
        "00205_DIFFUSION_MRI_BRAIN_T1",
    }
    assert shown(page, "words=no-such-model") == set()
