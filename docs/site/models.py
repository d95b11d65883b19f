"""One page per model, from its config and, for a bundled model, its card and pictures."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from links import for_site  # noqa: E402

from medzoo.config import ModelConfig, Version  # noqa: E402
from medzoo.registry import Registry, description  # noqa: E402
from medzoo.settings import shipped  # noqa: E402

SAMPLES = re.compile(r"^!\[(?P<caption>[^\]]*)\]\(samples\.png\)\n", re.MULTILINE)
INTRODUCTION = """\
# Models

{count} models, {bundled} of which come with medzoo and need no download. The others are the
models of [medigan](https://github.com/RichardObi/medigan), which are downloaded from Zenodo and
verified at their first use. Their samples are not shown here: they were never made on the machine
that builds this site. A **demonstration** shows a technique; its samples are not good enough for
research. Nothing here is for diagnosis.
"""
DOWNLOADED = """\
!!! note "No picture"
    This package is published by others, on Zenodo. medzoo downloads and verifies it at its first
    use. Its samples were not made on the machine that builds this site, so none are shown. What
    its config declares and [what is not confirmed yet](../packages.md#the-23-models) are listed.
"""


def all_models() -> list[ModelConfig]:
    """The registry that comes with medzoo, by number; no user folders and no update."""
    configs = Registry([shipped("model_configs")]).configs
    return [configs[name] for name in sorted(configs)]


def package_folder(model: ModelConfig) -> Path | None:
    """The folder of a bundled model; None for a model that is downloaded."""
    folder = ROOT / "starter_models" / model.id
    return folder if folder.is_dir() else None


def navigation() -> list[Any]:
    """The pages of models for mkdocs' ``nav``: bundled ones first."""
    groups: dict[str, list[Any]] = {"Bundled": [], "Downloaded": []}
    for model in all_models():
        group = groups["Bundled" if package_folder(model) else "Downloaded"]
        group.append({f"{model.number} {model.name}": f"models/{model.id}.md"})
    return ["models/index.md", *({title: pages} for title, pages in groups.items())]


def pictures() -> Iterator[tuple[str, Path]]:
    """Address in the site and file of every picture of a card."""
    for model in all_models():
        if folder := package_folder(model):
            for path in sorted([*folder.glob("*.png"), *folder.glob("*.gif")]):
                yield f"models/pictures/{model.id}/{path.name}", path


def pages() -> Iterator[tuple[str, str]]:
    """Address and Markdown of the overview and of each model."""
    yield "models/index.md", overview(all_models())
    for model in all_models():
        yield f"models/{model.id}.md", page(model)


def overview(models: Sequence[ModelConfig]) -> str:
    """All models: those with a picture as cards, the others as a table."""
    bundled = [model for model in models if package_folder(model)]
    head = INTRODUCTION.format(count=len(models), bundled=len(bundled))
    cards = "\n".join(
        f"<li markdown>\n\n[![Samples of model {model.number}](pictures/{model.id}/samples.png)]"
        f"({model.id}.md)\n\n[{model.number} {model.name}]({model.id}.md)"
        f"{', ' + model.default.status if model.default.status else ''}\n\n</li>"
        for model in bundled
    )
    rows = [
        (f"[{model.number}]({model.id}.md)", model.name, *short_facts(model))
        for model in models
        if not package_folder(model)
    ]
    heads = ("", "what it makes", "modality", "size", "license", "trained on")
    return (
        f'{head}\n## Bundled\n\n<ul class="models" markdown>\n{cards}\n</ul>\n'
        f"\n## Downloaded at their first use\n\n{table(heads, rows)}"
    )


def short_facts(model: ModelConfig) -> tuple[str, ...]:
    """What the overview says about a model."""
    version = model.default
    data = ", ".join(d.name for d in version.datasets)
    return model.modality, description.sample_size(version), version.license, data


def page(model: ModelConfig) -> str:
    """The page of one model."""
    version, folder = model.default, package_folder(model)
    parts = [f"# {model.number} {model.name}"]
    if version.status:
        title, _, reason = description.STATUS_TEXTS[version.status].partition(": ")
        parts.append(f'!!! warning "{title.capitalize()}"\n    {sentence(reason)}')
    parts.append(model.description.strip())
    card = ""
    if folder:
        text = (folder / "README.md").read_text(encoding="utf-8")
        match = SAMPLES.search(text)
        if not match:
            raise SystemExit(f"{folder.name}/README.md does not show samples.png.")
        parts += [match[0].strip(), f"*{match['caption']}*"]
        _, _, text = text.replace(match[0], "", 1).partition("\n")  # without its title
        card = f"## Model card\n\n{text.strip()}"
    else:
        parts.append(DOWNLOADED.strip())
    parts += ["## Use", use(model), "## Facts", facts(model)]
    for title, lines in (
        ("What it makes", outputs(version)),
        ("What it takes", takes(version)),
        ("Reported figures", metrics(version)),
        ("Versions", versions(model)),
    ):
        if lines:
            parts += [f"## {title}", lines]
    own = "\n\n".join([*parts, ""])
    return own.replace("](samples.png)", f"](pictures/{model.id}/samples.png)") + for_site(
        card, f"starter_models/{model.id}", f"models/{model.id}.md"
    )


def use(model: ModelConfig) -> str:
    """Lines to copy."""
    required = [i.name for i in model.default.inputs.values() if i.required]
    given = ', inputs="my_pictures/"' if required else ""
    option = " --inputs my_pictures/" if required else ""
    return (
        f"```python\nimport medzoo\n\nsamples = medzoo.generate({model.number}, 16, "
        f"seed=1{given})\nsamples.plot()\n```\n\n"
        f"```bash\nmedzoo generate {model.number} -n 16 --seed 1 --out samples/{option}\n"
        f"medzoo info {model.number}\nmedzoo cite {model.number}\n```"
    )


def facts(model: ModelConfig) -> str:
    """Id, license, source and the like of the default version."""
    version = model.default
    data = "; ".join(
        f"{d.name} ({d.license})" + (f", [doi:{d.doi}](https://doi.org/{d.doi})" if d.doi else "")
        for d in version.datasets
    )
    rows = {
        "id": f"`{model.id}`",
        "version": version.name,
        "modality, organ": f"{model.modality}, {model.organ}",
        "kind of model": version.generator,
        "architecture": version.architecture,
        "trained on": data or "no data",
        "license": version.license,
        "authors": f"{', '.join(version.authors)} ({version.year})",
        "publication": f"<{version.publication}>" if version.publication else "",
        "to cite": version.citation,
        "package": f"`{version.source}`, {description.package(version)}",
        "Python and packages": f"Python {version.python}; {', '.join(version.requires)}",
        "latents": f"{version.latent}" if version.settable_latents else "",
    }
    return table(("", ""), [(key, value) for key, value in rows.items() if value])


def outputs(version: Version) -> str:
    """The columns of the samples."""
    rows = []
    for o in version.outputs.values():
        numbers = "" if o.range is None else f"{o.range[0]:g} to {o.range[1]:g} {o.unit}"
        spacing = "" if o.spacing is None else " x ".join(f"{s:g}" for s in o.spacing) + " mm"
        shape = " x ".join(map(str, o.shape))
        names = ", ".join(o.columns)
        if o.condition:
            values = version.conditions[o.condition].values
            numbers = ", ".join(f"{number} {name}" for name, number in values.items())
        rows.append((f"`{o.name}`", o.kind, o.dtype, shape, numbers or names, spacing))
    return table(("column", "kind", "type", "shape", "values", "spacing"), rows)


def takes(version: Version) -> str:
    """Conditions, options, inputs and latents."""
    names = re.compile(r"^(\S+) = ")
    return "\n".join("- " + names.sub(r"`\1` = ", line) for line in description.inputs(version))


def metrics(version: Version) -> str:
    """Figures with their data, size and source."""
    rows = [
        (m.name, f"{m.value:g}", f"{m.better} is better", m.dataset, f"{m.samples or ''}", m.source)
        for m in version.metrics
    ]
    return table(("figure", "value", "", "data", "samples", "measured by"), rows) if rows else ""


def versions(model: ModelConfig) -> str:
    """All versions, where there are several."""
    if len(model.versions) == 1:
        return ""
    rows = [
        (
            name + " (default)" * (name == model.default_version),
            v.generator,
            str(v.year),
            v.license,
            f"`{v.source}`",
        )
        for name, v in model.versions.items()
    ]
    return table(("version", "kind of model", "year", "license", "package"), rows)


def table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [tuple(head)]
    lines += [tuple("---" for _ in lines[0]), *map(tuple, rows)]
    cells = (
        " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) for row in lines
    )
    return "\n".join(f"| {line} |" for line in cells)


def sentence(text: str) -> str:
    """A text with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
