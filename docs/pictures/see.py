"""Draw the pictures of docs/see.md: `python docs/pictures/see.py`.

Chromium, if it is installed, takes the picture of the notebook. Those of the web app are taken by
its tests: `MEDZOO_SCREENSHOTS=docs/pictures python -m pytest tests/test_web.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("MEDZOO_QUIET", "1")

import matplotlib as mpl  # noqa: E402

mpl.use("agg")

import medzoo  # noqa: E402
from medzoo.view import Explorer  # noqa: E402

FOLDER = Path(__file__).parent


def main() -> None:
    """Write all pictures."""
    samples = medzoo.generate(109, 6, seed=1)
    samples.plot(columns=6).savefig(FOLDER / "see-plot.png", dpi=90)
    medzoo.traverse(8, "brightness", 8).save(FOLDER / "see-traverse.png")
    with medzoo.load(8) as model:
        explorer = Explorer(model, seed=4)
        explorer.find_directions()
        explorer.figure.savefig(FOLDER / "see-window.png", dpi=80)
    notebook(samples._repr_html_(), FOLDER / "see-notebook.png")


def notebook(html: str, path: Path) -> None:
    """Take a picture of what a notebook shows."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print(f"{path.name} needs Chromium, which is not installed; it stays as it is.")
        return
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(f"<!doctype html><meta charset='utf-8'>{html}", encoding="utf-8")
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        size = ["--window-size=1020,580", f"--screenshot={path}", page.as_uri()]
        subprocess.run([*command, *size], check=True, capture_output=True)


if __name__ == "__main__":
    main()
