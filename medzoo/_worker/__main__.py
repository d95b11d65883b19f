"""Start of a model's process: ``python -S .../medzoo/_worker/__main__.py PARENT CONTAINMENT``.

The interpreter is the one of the model's environment. medzoo is made importable from where it lies,
and nothing else that is installed beside it. Because of ``-S``, nothing of the environment runs
before the process is contained.
"""

from __future__ import annotations

import importlib.util
import json
import site
import sys
from pathlib import Path


def bootstrap() -> None:
    """Make ``medzoo`` importable by its path, and nothing of this folder by its bare name."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if p and Path(p).resolve() != here]
    spec = importlib.util.spec_from_file_location(
        "medzoo", str(here.parent / "__init__.py"), submodule_search_locations=[str(here.parent)]
    )
    if spec is None or spec.loader is None:
        raise SystemExit("medzoo cannot be imported from " + str(here.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules["medzoo"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    sys.dont_write_bytecode = True  # an environment must not change, and others use it too
    bootstrap()
    from medzoo._worker.sandbox import contain
    from medzoo._worker.supervisor import supervise

    containment = json.loads(sys.argv[2])
    supervisor = supervise(int(sys.argv[1]), containment and containment["processes"])
    held = contain(containment) if containment else []
    site.main()
    from medzoo._worker.loop import main

    main(supervisor, held)
