"""What `make demo` runs: 32 samples of model 8, as a contact sheet and as files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import medzoo


def main() -> None:
    folder = Path("demo")
    samples = medzoo.generate(8, 32, seed=8, out=folder / "masses")
    sheet = folder / "masses.png"
    samples.plot(32, columns=8).savefig(sheet, dpi=100)
    print(medzoo.cite(8))
    print(
        f"\n{len(samples)} synthetic masses in {folder / 'masses'}, all of them in one picture: "
        f"{sheet}"
    )
    if sys.stdout.isatty() and (viewer := _viewer()):  # show it to a person, never to a script
        subprocess.Popen(
            [*viewer, str(sheet)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def _viewer() -> list[str]:
    if sys.platform == "darwin":
        return ["open"]
    if sys.platform == "win32":
        return ["cmd", "/c", "start", ""]
    return ["xdg-open"] if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") else []


if __name__ == "__main__":
    main()
