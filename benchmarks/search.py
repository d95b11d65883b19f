"""Finding models in a registry of 10,000 configs, which are the shipped ones under other numbers.
Opening is what a new process spends before it knows all of them by the index that an earlier one
compiled; building is what that earlier one spent."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .instruments import ROOT, command, in_turn, seconds
from .rows import Found, Row, Size, measures

WORDS = ("mammography mass", "mri", "chest x-ray", "brain tumour", "nodule")
NOTHING = "no model has this name"
FIRST = 30_000  # number of the configs that are added


@measures(
    Row("search over 10,000 configs", "ms", bar=10),
    Row("search over 10,000 configs that finds nothing, and says why", "ms", bar=10),
    Row("opening a registry of 10,000 configs", "ms", bar=50),
    Row("building the index of 10,000 configs", "s", bar=8),
)
def large_registry(size: Size) -> list[Found]:
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), range(FIRST, FIRST + size.configs))
        variables = {"MEDZOO_MODEL_CONFIGS": folder, "MEDZOO_CACHE": cache}
        asked = [sys.executable, "-m", __name__, str(size.runs)]
        building, *found = (json.loads(command(*asked, **variables)) for _ in range(1 + size.runs))
    note = f"{building['configs']:,} configs"
    searches = found[-1]["searches"]
    nothing = searches.pop(NOTHING)
    return [
        Found(
            [sum(times) / len(WORDS) for times in zip(*searches.values(), strict=True)],
            searches,
            "ms",
            note,
        ),
        Found(nothing, note=note),
        Found([1e3 * run["opening"] for run in found], note=note),
        Found([building["opening"]], note=f"{note}, one run"),
    ]


def shipped() -> list[Path]:
    """The configs that come with medzoo."""
    return sorted((ROOT / "model_configs").glob("*.yaml"))


def fill(folder: Path, numbers: Iterable[int]) -> None:
    """Write configs with these numbers, each a shipped one otherwise."""
    texts = [(path.stem, path.read_text(encoding="utf-8")) for path in shipped()]
    for k, number in enumerate(numbers):
        old, text = texts[k % len(texts)]
        new = f"{number:05d}{old[5:]}"
        text = re.sub(rf"^id: {re.escape(old)}$", f"id: {new}", text, count=1, flags=re.MULTILINE)
        (folder / f"{new}.yaml").write_text(text, encoding="utf-8")


def main() -> None:
    """In a separate process, which has opened no registry yet: print what it takes."""
    import medzoo
    from medzoo.registry import registry
    from medzoo.registry.index import index_of

    opening = seconds(lambda: index_of(registry()))
    sides = {words: lambda _, words=words: medzoo.search(words) for words in (*WORDS, NOTHING)}
    searches = {
        words: [1e3 * s for s in times]
        for words, times in in_turn(int(sys.argv[1]), sides, 1).items()
    }
    print(json.dumps({"configs": len(registry().files), "opening": opening, "searches": searches}))


if __name__ == "__main__":
    main()
