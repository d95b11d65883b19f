"""Write the sha256 and size of every bundled package's files into its config: `python
starter_models/register.py [--check]`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from medzoo.config import read_config
from medzoo.files import sha256_of
from medzoo.packages.store import package_files

ROOT = Path(__file__).resolve().parent.parent


def registered(path: Path) -> str:
    """The config's text with the digests of the files as they are now."""
    text = path.read_text(encoding="utf-8")
    for version in read_config(path).versions.values():
        if version.scheme == "bundled":
            folder = ROOT / "starter_models" / version.source.partition(":")[2]
            names = package_files(folder)
            digests = "".join(f'      {name}: "{sha256_of(folder / name)}"\n' for name in names)
            size = sum((folder / name).stat().st_size for name in names)
            head, start, rest = text.partition(f"    source: {version.source}\n")
            rest = re.sub(
                r"    files:\n(      .*\n)+    size: \d+\n",
                f"    files:\n{digests}    size: {size}\n",
                rest,
                count=1,
            )
            text = head + start + rest
    return text


def main() -> int:
    """Rewrite the configs, or with --check only say which would change."""
    stale = [
        p
        for p in sorted((ROOT / "model_configs").glob("*.yaml"))
        if registered(p) != p.read_text(encoding="utf-8")
    ]
    for path in stale:
        print(
            f"{path.name}: {'differs from its package' if '--check' in sys.argv else 'registered'}"
        )
        if "--check" not in sys.argv:
            path.write_text(registered(path), encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    raise SystemExit(main())
