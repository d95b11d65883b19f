"""From a folder to a pull request: ``new``, ``check``, ``pack``, ``upload``, ``submit``; and from a
set of samples to a data set: ``publish``. docs/howto/author.md explains the steps.

=======================  ==========================================================================
``template.py``          a new package folder from ``contrib_template/``
``bundles.py``           the same from a MONAI bundle
``metadata.py``          what a config and a model card must say
``contents.py``          which files make a package
``check.py``             all of these, and a run of the model (`modeltest`)
``pack.py``              a reproducible zip, and the config that registers it
``tokens.py``            tokens from the environment or the keyring
``deposits.py``          requests to Zenodo's deposit API
``zenodo_metadata.py``   what a record says
``record.py``            a draft that is continued, and published once
``upload.py``            a packed model as a record of Zenodo
``sheet.py``             a picture of a few samples
``github.py``            fork, branch and pull request, by PyGithub
``pull_text.py``         what the pull request says
``submit.py``            the pull request, or a branch in a clone (``git.py`` talks to git)
``contribution.py``      `medzoo.contribute`: these steps in one call
``data_set.py``          ``medzoo publish``: a set of samples as a data set of Zenodo
``export.py``            ``medzoo export``: a model in other formats, one ``export_*.py`` for each
``review.py``            ``python -m medzoo.publishing FILE...``: the configs of a pull request
``trial.py``             the models of a pull request run, without network and token
``comment.py``           a comment on it with what they made
=======================  ==========================================================================
"""

from __future__ import annotations

from ..modeltest.report import Finding, Report
from .bundles import from_bundle
from .check import check
from .contribution import Contribution, contribute
from .data_set import SetResult, publish
from .export import Exported, export, graph_inputs
from .pack import PackResult, pack
from .submit import PullRequestResult, SubmitResult, submit
from .template import from_medigan, new
from .upload import UploadResult, upload

__all__ = [
    "Contribution",
    "Exported",
    "Finding",
    "PackResult",
    "PullRequestResult",
    "Report",
    "SetResult",
    "SubmitResult",
    "UploadResult",
    "check",
    "contribute",
    "export",
    "from_bundle",
    "from_medigan",
    "graph_inputs",
    "new",
    "pack",
    "publish",
    "submit",
    "upload",
]
