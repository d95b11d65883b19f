"""The gallery: all models as static web pages, with pictures, search and filters.

The pages ask no other host for anything, and work when they are opened from a disk.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from .. import __version__, checks, files
from ..config import ModelConfig
from ..config.html import fact_table
from ..errors import DatasetError
from ..registry import card, cite, description, is_local, list_models
from ..settings import user_path

FACETS = (
    *("modality", "organ", "content", "dimension", "kind"),
    *("condition", "license", "package", "status"),
)
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<link rel="stylesheet" href="{root}gallery.css">
</head>
<body>
{body}
<footer>medzoo {version}. Synthetic samples are for research. They are not for diagnosis.</footer>
{script}</body>
</html>
"""
STYLE = """\
:root { color-scheme: light dark; --line: #8884; --faint: #777; }
body {
  font: 16px/1.45 system-ui, sans-serif;
  max-width: 72rem;
  margin: 1.5rem auto;
  padding: 0 1rem;
}
h1 { font-size: 1.5rem; line-height: 1.3; }
a { color: #2f6690; }
@media (prefers-color-scheme: dark) { a { color: #8ec1e8; } }
form { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; align-items: end; }
label { display: grid; font-size: .8rem; color: var(--faint); }
input, select { font: inherit; padding: .3rem; max-width: 12rem; }
#models {
  display: grid;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr));
  gap: 1rem;
  padding: 0;
}
#models li {
  list-style: none;
  border: 1px solid var(--line);
  border-radius: .5rem;
  padding: .8rem;
  overflow-wrap: anywhere;
}
#models li[hidden] { display: none; }
#models img, .empty {
  width: 100%;
  height: 5rem;
  object-fit: cover;
  background: #8882;
  display: block;
  margin-bottom: .5rem;
}
.empty { display: grid; place-items: center; color: var(--faint); font-size: .85rem; }
.status { color: #c2410c; font-weight: 600; }
small, footer { color: var(--faint); }
th { text-align: left; vertical-align: top; padding-right: 1rem; white-space: nowrap; }
pre { background: #8882; padding: .6rem; overflow-x: auto; white-space: pre-wrap; }
.strip { max-width: 100%; }
footer {
  margin-top: 2rem;
  border-top: 1px solid var(--line);
  padding-top: .5rem;
  font-size: .85rem;
}
"""
SCRIPT = """\
const form = document.querySelector("form"), count = document.querySelector("#count");
const cards = [...document.querySelectorAll("#models li")];
function filter() {
  const words = form.words.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  for (const card of cards) {
    const fits = words.every(word => card.dataset.text.includes(word)) &&
      [...form.querySelectorAll("select")].every(
        select => !select.value || card.dataset[select.name].split("|").includes(select.value));
    card.hidden = !fits;
    shown += fits;
  }
  count.textContent = `${shown} of ${cards.length} models`;
}
// A link such as index.html?words=brain&modality=MRI shows a selection.
for (const [name, value] of new URLSearchParams(location.search)) {
  if (form.elements[name]) form.elements[name].value = value;
}
form.addEventListener("input", filter);
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
filter();
"""


@checks.checked()
def gallery(out: str | os.PathLike[str]) -> Path:
    """Write the gallery of all models as static web pages.

    Parameters
    ----------
    out : str or os.PathLike
        A new or empty folder, or one with an earlier gallery, whose pages are replaced.

    Returns
    -------
    pathlib.Path
        The first page, ``index.html``.

    Raises
    ------
    DatasetError
        The folder holds something else, or cannot be written.
    """
    folder = user_path(out, "out")
    models = [model for model in list_models() if not is_local(model)]
    try:
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "gallery.css").is_file():
            raise DatasetError(
                f"{folder} is not empty, and holds no gallery.", "Choose a new or empty folder."
            )
        shutil.rmtree(folder / "models", ignore_errors=True)  # models that are no longer listed
        _write(folder / "gallery.css", STYLE.encode())
        _write(folder / "gallery.js", SCRIPT.encode())
        for model in models:
            if picture := card.thumbnail(model):
                _write(folder / "models" / f"{model.id}.jpg", picture)
            _write(folder / "models" / f"{model.id}.html", model_page(model).encode())
        _write(folder / "index.html", index_page(models).encode())
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(f"{folder} could not be written: {why}.") from error
    return folder / "index.html"


def index_page(models: Sequence[ModelConfig], links: Mapping[str, str] | None = None) -> str:
    """The page with a card of each model, a search field and a filter for each facet.

    Models that have a picture come first. ``links`` (text -> address) are further pages of a site,
    listed at the top.
    """
    models = sorted(models, key=lambda model: not card.thumbnail(model))
    values = [facets_of(model) for model in models]
    cards = "\n".join(map(_card, models, values))
    body = (
        f"{_links(links or {})}<h1>medzoo: generative models for medical imaging</h1>\n<form>"
        '<label>search<input name="words" type="search" autofocus></label>'
        f"{''.join(_selects(values))}"
        '<button type="reset">show all</button></form>\n'
        '<p id="count" role="status"></p>\n'
        f'<ul id="models">\n{cards}\n</ul>'
    )
    return _page("medzoo: gallery", body, script='<script src="gallery.js"></script>\n')


def _links(links: Mapping[str, str]) -> str:
    listed = "".join(f'<a href="{escape(to)}">{escape(text)}</a> ' for text, to in links.items())
    return f"<nav>{listed}</nav>\n" if links else ""


def _selects(values: Sequence[Mapping[str, set[str]]]) -> Iterator[str]:
    for facet in FACETS:
        options = sorted(set().union(*(value[facet] for value in values)))
        lines = "".join(f"<option>{escape(option)}</option>" for option in options)
        yield (
            f'<label>{facet}<select name="{facet}"><option value="">all</option>{lines}</select>'
            "</label>"
        )


def _card(model: ModelConfig, facets: Mapping[str, set[str]]) -> str:
    texts = [model.id, model.name, model.description, *model.tags]
    text = " ".join([*texts, *(" ".join(sorted(v)) for v in facets.values())]).lower()
    data = "".join(f' data-{facet}="{escape("|".join(sorted(v)))}"' for facet, v in facets.items())
    status = model.default.status
    picture = '<div class="empty">no picture</div>'
    if card.thumbnail(model):
        picture = f'<img src="models/{model.id}.jpg" alt="samples of {escape(model.id)}">'
    name = escape(model.id).replace("_", "_<wbr>")  # where a line may break
    note = f' <span class="status">{escape(status)}</span>' if status else ""
    return (
        f'<li data-text="{escape(text)}"{data}>{picture}'
        f'<a href="models/{model.id}.html">{name}</a>{note}<br>{escape(model.name)}'
        f"<br><small>{escape(description.sample_size(model.default))}, "
        f"{escape(model.default.license)}, "
        f"{escape(description.package(model.default))}</small></li>"
    )


def facets_of(model: ModelConfig) -> dict[str, set[str]]:
    """What the filters of the gallery look at, from the default version of a model."""
    version = model.default
    kinds = {output.kind for output in version.outputs.values()}
    dimension = "3D" if "volume" in kinds else "2D" if kinds & {"image", "mask"} else "table"
    bundled = "bundled" if version.scheme == "bundled" else "downloaded"
    return {
        "modality": {model.modality},
        "organ": {model.organ},
        "content": {model.content},
        "dimension": {dimension},
        "kind": {version.generator},
        "condition": set(version.conditions) or {"none"},
        "license": {version.license},
        "package": {bundled},
        "status": {version.status or "ready"},
    }


def model_page(model: ModelConfig) -> str:
    """The page of a model: samples, lines to copy, facts of each version, citation."""
    head = f'<p><a href="../index.html">all models</a></p>\n<h1>{escape(model.id)}</h1>\n'
    return _page(model.id, f"{head}{about(model)}\n{details(model)}", root="../")


def about(model: ModelConfig) -> str:
    """What a model is, with its samples and lines to copy."""
    parts = []
    if model.default.status:
        text = description.STATUS_TEXTS[model.default.status]
        parts.append(f'<p class="status">{escape(text)}</p>')
    parts.append(f"<p>{escape(model.name)}. {escape(model.description)}</p>")
    if card.thumbnail(model):
        alt = f"samples of {escape(model.id)}"
        parts.append(f'<p><img class="strip" src="{model.id}.jpg" alt="{alt}"><br>')
        parts.append("<small>The first four samples of seed 8, not chosen.</small></p>")
    command = f"medzoo generate {model.number} -n 4 --out samples/"
    python = f"import medzoo\n{card.call(model, model.default)}"
    parts.append(f"<pre>{escape(python)}</pre><pre>{escape(command)}</pre>")
    return "\n".join(parts)


def details(model: ModelConfig) -> str:
    """The facts of each version of a model, and its citation."""
    parts = []
    for version in model.versions.values():
        parts.append(f"<h2>Version {escape(version.name)}</h2>")
        parts.append(fact_table(description.model_facts(model, version)))
    parts.append(f"<h2>Citation</h2><pre>{escape(cite(model.number))}</pre>")
    return "\n".join(parts)


def _page(title: str, body: str, *, root: str = "", script: str = "") -> str:
    return PAGE.format(
        title=escape(title), body=body, root=root, script=script, version=__version__
    )


def _write(path: Path, content: bytes) -> None:
    with files.atomic(path) as file:
        file.write(content)
