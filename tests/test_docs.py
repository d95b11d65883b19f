"""The examples of the pages run, word for word but with smaller numbers."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import pytest
from conftest import ROOT

import medzoo


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/datasets.md"])
def test_the_examples_of_a_page_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(
        r"```python\n(.+?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL
    )
    assert blocks
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    code = re.sub(r"\b(500|\d{1,3}(_\d{3})+)\b", "4", "\n".join(blocks)).replace("[:16]", "[:2]")
    exec(code, {"__name__": page})
    sets = [path.parent for path in tmp_path.glob("*/provenance.json")]
    assert sets
    assert all(medzoo.verify(folder).ok for folder in sets)
