"""``python -m medzoo.publishing FILE...``: review the configs that a pull request changes."""

from __future__ import annotations

import sys

from .review import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
