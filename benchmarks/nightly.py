"""The nightly run: every published model downloaded, verified, built and run, and a page of what
came of it.

    python -m benchmarks.nightly list                        what there is to test, as JSON
    python -m benchmarks.nightly fetch 21 --out digests/     download one, and write its sha256; nothing of it runs
    python -m benchmarks.nightly test 21 --out results/      test one, and write what was found
    python -m benchmarks.nightly page results/ --out site/   a page, a badge and, on stdout, a table of all results

    python -m benchmarks.nightly confirm digests/ earlier/   register each sha256 that two runs saw, and print their models

.github/workflows/nightly.yml runs these. They do the same on any machine that reaches Zenodo.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medzoo import settings
from medzoo.config import ModelConfig, Version, read_config
from medzoo.console import megabytes, minutes
from medzoo.errors import ConfigError
from medzoo.files import sha256_of
from medzoo.packages.store import package
from medzoo.registry import list_models, resolve

PASSED, TRUSTED, FAILED, NONE = "passed", "passed with trust", "failed", "no result"
HEAD = ("model", "version", "result", "what was found", "time", "size", "sha256 of the zip")
LINES = 8  # of an error's last ones
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>medzoo, nightly run</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em }}
table {{ border-collapse: collapse }}
th, td {{ border-bottom: 1px solid #ccc; padding: .4em .8em; text-align: left; vertical-align: top }}
td:last-child {{ font: 11px monospace; word-break: break-all }}
.passed {{ color: #0a6b2d }} .failed, .no {{ color: #a4001d; font-weight: bold }}
</style>
<h1>Published models, run every night</h1>
<p>{message}, {date} UTC. Each was downloaded from Zenodo, verified, given its environment, run, and compared with its config by
<code>medzoo test</code>. The same as <a href="nightly.json">JSON</a>.</p>
<table>{rows}</table>
</html>
"""


def published() -> list[tuple[ModelConfig, Version]]:
    """The versions that lie on Zenodo, in the order of the ids."""
    return [(c, v) for c in list_models() for v in c.versions.values() if v.scheme == "zenodo"]


# --------------------------------------------------------------------------------------------------
# testing
def examine(model: str, version: str | None = None) -> dict[str, Any]:
    """What ``medzoo test`` finds out about a model, in a separate process; again with trust where
    that is what it lacks.
    """
    config = resolve(model)
    chosen = config.version(version)
    began = time.monotonic()
    found = _examined(model, chosen.name)
    state = PASSED if found["ready"] else FAILED
    if not found["ready"] and "trust=True" in json.dumps(found):
        found = _examined(model, chosen.name, "--trust")
        state = TRUSTED if found["ready"] else FAILED
    zips = sorted(
        (settings.cache_folder() / "downloads").glob(f"{config.id}-*/{Path(chosen.source).name}")
    )
    return {
        "id": config.id,
        "version": chosen.name,
        "state": state,
        "findings": found["findings"],
        "error": found["error"],
        "seconds": round(time.monotonic() - began),
        "bytes": zips[0].stat().st_size if zips else None,
        "sha256": sha256_of(zips[0]) if zips else "",
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def _examined(model: str, version: str, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "medzoo", "test", model, "--version", version, "--json", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        (report,) = json.loads(done.stdout)
    except ValueError:  # it ended before there was anything to look at
        return {
            "ready": False,
            "findings": [],
            "error": "\n".join(done.stderr.strip().splitlines()[-LINES:]),
        }
    return {"ready": bool(report["ready"]), "findings": report["findings"], "error": ""}


# --------------------------------------------------------------------------------------------------
# digests
def fetch(model: str, version: str | None = None) -> dict[str, Any]:
    """Download a package, which compares it with Zenodo's md5; its sha256 and size."""
    config = resolve(model)
    chosen = config.version(version)
    package(config, chosen)
    folder = settings.cache_folder() / "downloads"
    (path,) = folder.glob(f"{config.id}-*/{Path(chosen.source).name}")
    size = path.stat().st_size
    return {"id": config.id, "version": chosen.name, "sha256": sha256_of(path), "bytes": size}


def confirm(now: Path, earlier: Path) -> list[str]:
    """Write the sha256 that both runs saw into configs that state none; the ids of these models."""
    before, changed = _digests(earlier), []
    for key, (sha256, size) in _digests(now).items():
        config = resolve(key[0])
        version = config.versions.get(key[1])
        if version is None or version.sha256 or before.get(key) != (sha256, size):
            continue
        text = config.path.read_text(encoding="utf-8")
        head, start, rest = text.partition(f"    source: {version.source}\n")
        own, more, others = rest.partition("    source: ")
        own = re.sub(r"^    (sha256_unconfirmed|size): .*\n", "", own, flags=re.MULTILINE)
        own = f"    sha256: {sha256}\n    size: {size}\n{own}"
        config.path.write_text(head + start + own + more + others, encoding="utf-8")
        if read_config(config.path).version(version.name).sha256 != sha256:
            raise ConfigError(f"{config.path} could not be rewritten.")
        changed.append(config.id)
    return changed


def _digests(folder: Path) -> dict[tuple[str, str], tuple[str, int]]:
    results = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.rglob("*.json"))]
    return {(r["id"], r["version"]): (r["sha256"], r["bytes"]) for r in results}


# --------------------------------------------------------------------------------------------------
# publishing
def publish(results: Path, site: Path) -> list[dict[str, Any]]:
    """Write the page, the badge and the JSON of all results; return them, one for each published
    version.
    """
    found = {
        (r["id"], r["version"]): r
        for r in (json.loads(p.read_text(encoding="utf-8")) for p in results.rglob("*.json"))
    }
    nothing = {
        "state": NONE,
        "findings": [],
        "error": "Its job ended without one.",
        "seconds": 0,
        "bytes": None,
        "sha256": "",
    }
    all_ = [
        found.get((c.id, v.name)) or {"id": c.id, "version": v.name, **nothing}
        for c, v in published()
    ]
    good = sum(r["state"] in {PASSED, TRUSTED} for r in all_)
    message = f"{good} of {len(all_)} run"
    color = "brightgreen" if good == len(all_) else "orange" if 2 * good >= len(all_) else "red"
    date = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    site.mkdir(parents=True, exist_ok=True)
    _write_json(
        site / "nightly.json",
        {"date": date, "passed": good, "failed": len(all_) - good, "models": all_},
    )
    _write_json(
        site / "badge.json",
        {"schemaVersion": 1, "label": "published models", "message": message, "color": color},
    )
    cells = [_line(HEAD, "th"), *(_line(row(r), "td", r["state"].split()[0]) for r in all_)]
    page = PAGE.format(message=html.escape(message), date=date, rows="\n".join(cells))
    (site / "index.html").write_text(page, encoding="utf-8")
    return all_


def row(result: dict[str, Any]) -> tuple[str, ...]:
    """A result in the columns of ``HEAD``."""
    wrong = [
        f"{f['name']}: {f['text']}"
        for f in result["findings"]
        if f["state"] in {"missing", "wrong"}
    ]
    said = "; ".join(wrong) or result["error"] or f"{len(result['findings'])} checks"
    size = megabytes(result["bytes"]) if result["bytes"] else ""
    spent = minutes(result["seconds"]) if result["seconds"] else ""
    return (
        result["id"],
        result["version"],
        result["state"],
        " ".join(said.split()),
        spent,
        size,
        result["sha256"],
    )


def _line(cells: Sequence[str], tag: str, kind: str = "") -> str:
    mark = f' class="{kind}"' if kind else ""
    return (
        f"<tr{mark}>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
    )


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """The results as a table, those that failed first."""
    order = sorted(results, key=lambda r: r["state"] in {PASSED, TRUSTED})
    rows = [HEAD[:-1], ["---"] * (len(HEAD) - 1), *(row(r)[:-1] for r in order)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in r) + " |" for r in rows)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """List, fetch, test, confirm or publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("list")
    test = steps.add_parser("test")
    test.add_argument("model")
    test.add_argument("--version")
    test.add_argument("--out", type=Path, required=True)
    fetching = steps.add_parser("fetch")
    fetching.add_argument("model")
    fetching.add_argument("--version")
    fetching.add_argument("--out", type=Path, required=True)
    confirming = steps.add_parser("confirm")
    confirming.add_argument("now", type=Path)
    confirming.add_argument("earlier", type=Path)
    page = steps.add_parser("page")
    page.add_argument("results", type=Path)
    page.add_argument("--out", type=Path, required=True)
    a = parser.parse_args(arguments)
    if a.step == "list":
        print(json.dumps([{"model": c.id, "version": v.name} for c, v in published()]))
        return 0
    if a.step == "page":
        print(markdown(publish(a.results, a.out)))
        return 0
    if a.step == "confirm":
        print(*confirm(a.now, a.earlier), sep="\n")
        return 0
    result = fetch(a.model, a.version) if a.step == "fetch" else examine(a.model, a.version)
    a.out.mkdir(parents=True, exist_ok=True)
    _write_json(a.out / f"{result['id']}-{result['version']}.json", result)
    if a.step == "fetch":
        print(result["sha256"])
        return 0
    print(*row(result), sep="\n")
    return int(result["state"] == FAILED)


if __name__ == "__main__":
    raise SystemExit(main())
