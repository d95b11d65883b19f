"""The documentation site: built with warnings as errors, without a network, and read as a browser would."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from conftest import ROOT

import medzoo
from medzoo import medical, study
from medzoo.registry import Registry
from medzoo.settings import shipped

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e .[docs]")

# What a browser loads without being asked. Links that a person follows may lead anywhere.
LOADED = {
    "audio": ["src"],
    "embed": ["src"],
    "iframe": ["src"],
    "img": ["src", "srcset"],
    "input": ["src"],
    "link": ["href"],
    "object": ["data"],
    "script": ["src"],
    "source": ["src", "srcset"],
    "track": ["src"],
    "video": ["src", "poster"],
}
# The theme's script asks these hosts only for elements that no page has; see the test below.
TRIGGERS = ('data-md-component="source"', 'class="mermaid"', "giscus")
TUTORIALS = sorted((ROOT / "docs/tutorials").glob("*.ipynb"))


class Page(HTMLParser):
    """Addresses that a page loads and links to, and the names of its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.anchors: set[str] = set()
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.add(values.get("id", ""))
        if tag == "link" and values.get("rel") in {"canonical", "next", "prev"}:
            return
        self.loads += [values[name] for name in LOADED.get(tag, []) if values.get(name)]
        if tag == "img":
            self.pictures.append(values["src"])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Proxies that do not exist make every connection to another host fail."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
    )
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(folder),
    ]
    built = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "docs/site"))
    yield importlib.import_module("links")
    sys.modules.pop("links")


def test_make_docs_builds_the_site_strictly() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.split("\ndocs:", 1)[1].split("\n\n", 1)[0]
    assert "mkdocs build --strict" in recipe
    assert "docs/generate.py" in recipe


@pytest.mark.slow
@pytest.mark.timeout(1800)  # tutorials are executed; about 40 s on a quiet machine
def test_no_page_loads_anything_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        remote = [
            a for a in page.loads if urlsplit(a).scheme not in {"", "data"} or a.startswith("//")
        ]
        assert not remote, f"{path.name} loads {remote}"
        assert not [trigger for trigger in TRIGGERS if trigger in page.text], path.name
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", text), path.name


@pytest.mark.slow
def test_links_between_pages_work(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # its addresses are those of a server
            continue
        for address in {*page.links, *page.loads}:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                broken.append(f"{path.name}: {address}")
            elif (
                parts.fragment
                and target in pages
                and unquote(parts.fragment) not in pages[target].anchors
            ):
                broken.append(f"{path.name}: {address} has no such anchor")
    assert not broken


@pytest.mark.slow
def test_every_model_has_a_page_and_every_bundled_one_a_picture(
    site: Path, pages: dict[Path, Page]
) -> None:
    models = Registry([shipped("model_configs")]).configs
    assert len(models) >= 30
    for model in models.values():
        page = pages[site / "models" / f"{model.id}.html"]
        assert model.default.license in page.text
        pictures = [p for p in page.pictures if p.endswith("samples.png")]
        assert len(pictures) == (model.default.scheme == "bundled"), model.id
        assert all((site / "models" / p).stat().st_size > 10_000 for p in pictures)
        if model.default.status:
            assert "not good enough for research" in page.text


@pytest.mark.slow
def test_the_reference_has_every_public_name(site: Path, pages: dict[Path, Page]) -> None:
    text = "".join(page.text for path, page in pages.items() if path.parent.name == "api")
    for module in (medzoo, medical, study):
        for name in module.__all__:
            if not name.startswith("__"):
                assert re.search(rf"\b{module.__name__}\.(?:errors\.)?{name}\b", text), name
    model = pages[site / "api" / "model.html"].text
    assert 'Model.stream"' in model
    samples = pages[site / "api" / "samples.html"].text
    assert 'Samples.to_torch"' in samples
    assert "__init__" not in model


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_shows_what_its_cells_gave(
    path: Path, site: Path, pages: dict[Path, Page]
) -> None:
    page = pages[site / "tutorials" / f"{path.stem}.html"]
    assert any(f"{path.stem}_files/" in picture for picture in page.pictures)
    assert "Traceback" not in page.text


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_committed_without_its_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_there_are_tutorials() -> None:
    assert len(TUTORIALS) == 4


@pytest.mark.parametrize(
    ("text", "folder", "page", "expected"),
    [
        ("[a](x.md#b)", "docs", "y.md", "[a](x.md#b)"),
        ("[a](../CONTRIBUTING.md)", "docs", "faq.md", "[a](contributing.md)"),
        ("[a](../../model_configs/)", "docs/howto", "howto/author.md", "[a](../models/index.md)"),
        ("[a](docs/cli.md)", ".", "contributing.md", "[a](cli.md)"),
        (
            "[a](../Makefile)",
            "docs",
            "faq.md",
            "[a](https://github.com/medzoo/medzoo/blob/main/Makefile)",
        ),
        ("`x[0](y)` [a](https://e.org/)", "docs", "faq.md", "`x[0](y)` [a](https://e.org/)"),
        ("```\nx[0](y)\n```", "docs", "faq.md", "```\nx[0](y)\n```"),
        (
            "[`a`](../docs/tutorials/contribute.ipynb)",
            "docs",
            "faq.md",
            "[`a`](tutorials/contribute.md)",
        ),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(
    links: ModuleType, text: str, folder: str, page: str, expected: str
) -> None:
    if "x.md" in text:
        text, expected = text.replace("x.md", "faq.md"), expected.replace("x.md", "faq.md")
    assert links.for_site(text, folder, page) == expected


def test_a_link_to_nothing_stops_the_build(links: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"leads to docs/missing\.md, which does not exist"):
        links.for_site("[a](missing.md)", "docs", "faq.md")


def test_the_picture_of_all_models_is_small() -> None:
    size = (ROOT / "docs/pictures/models.png").stat().st_size
    assert 50_000 < size < 1_000_000
