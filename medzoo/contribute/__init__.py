"""From a folder to a pull request: ``new``, ``check``, ``pack``, ``submit``. CONTRIBUTING.md
explains the steps.

==================  =================================================================
``template.py``     a new package folder from ``contrib_template/``
``bundles.py``      the same from a MONAI bundle
``metadata.py``     what a config and a model card must say
``contents.py``     which files make a package
``check.py``        all of these, and a run of the model (`modeltest`)
``pack.py``         a reproducible zip, and the config that registers it
``submit.py``       a git branch with that config (``git.py`` talks to git)
``review.py``       ``python -m medzoo.contribute FILE...``: the configs of a pull request
==================  =================================================================
"""

from __future__ import annotations

from ..modeltest.report import Finding, Report
from .bundles import from_bundle
from .check import check
from .pack import PackResult, pack
from .submit import SubmitResult, submit
from .template import from_medigan, new

__all__ = [
    "Finding",
    "PackResult",
    "Report",
    "SubmitResult",
    "check",
    "from_bundle",
    "from_medigan",
    "new",
    "pack",
    "submit",
]
