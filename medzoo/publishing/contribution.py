"""All steps from a package folder to a pull request, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from .. import checks, settings
from ..errors import InputError
from ..modeltest.report import Report
from .check import check
from .pack import PackResult, pack
from .record import Record
from .submit import REPOSITORY, PullRequestResult, submit
from .upload import UploadResult, upload

STEPS = ("check", "pack", "upload", "submit")


@dataclass(frozen=True)
class Contribution:
    """What `contribute` did; print it for the last step and what follows it.

    Parameters
    ----------
    report
        What the check saw.
    package
        The zip and the config; None if the package is not ready or ``until`` was ``"check"``.
    upload
        The record on Zenodo, if it came so far.
    pull_request
        The pull request on GitHub, if it came so far.
    """

    report: Report
    package: PackResult | None = None
    upload: UploadResult | None = None
    pull_request: PullRequestResult | None = None

    def __str__(self) -> str:
        return str(self.pull_request or self.upload or self.package or self.report)


@checks.checked(until=checks.text, production=checks.flag, publish=checks.flag)
def contribute(
    folder: str | os.PathLike[str],
    *,
    until: str = "submit",
    production: bool = False,
    publish: bool = False,
    confirm: Callable[[Record], bool] | None = None,
    new_version: bool | int | str = False,
    out: str | os.PathLike[str] | None = None,
    to: str = REPOSITORY,
    env: str = "isolated",
    progress: bool | None = None,
) -> Contribution:
    """Check a model package, pack it, upload it to Zenodo, and open the pull request.

    It goes as far as it can: a package that is not ready is only checked, and a draft or a record
    of Zenodo's sandbox is not submitted. Repeated, it continues: nothing is uploaded, published or
    opened twice. Tokens are read from ``ZENODO_SANDBOX_TOKEN``, ``ZENODO_TOKEN`` and
    ``GITHUB_TOKEN``, or from the keyring.

    Parameters
    ----------
    folder : str or os.PathLike
        The package folder; `medzoo.publishing.new` makes one.
    until : str, optional
        The last step: ``"check"``, ``"pack"``, ``"upload"`` or ``"submit"``.
    production : bool, optional
        Upload to zenodo.org. By default to its sandbox, where nothing is permanent.
    publish : bool, optional
        Publish the record, which cannot be undone. By default it remains a draft.
    confirm : callable, optional
        Asked before the record is published. It gets the record, and returns whether to go on.
    new_version : bool, int or str, optional
        True for a new version of the record that was uploaded before; or the number or DOI of one.
    out : str or os.PathLike, optional
        Where the zip and the config are written. By default beside the folder.
    to : str, optional
        The repository on GitHub that takes the pull request.
    env : str, optional
        Where the check runs the model: ``"isolated"``, in its own environment, or
        ``"current"``.
    progress : bool, optional
        Whether to draw a bar. By default only at a terminal.

    Returns
    -------
    Contribution
        What was done. Print it for what follows.

    Raises
    ------
    InputError
        ``until`` is not a step.
    ContributionError
        There is no such folder or no token, or Zenodo or GitHub refuses or cannot be reached.

    Examples
    --------
    >>> from medzoo.publishing import new
    >>> folder = new("mine", name="GAN_MRI_KNEE")
    >>> contribution = medzoo.contribute(folder, until="check", env="current")
    >>> contribution.report.ready, contribution.package
    (False, None)
    >>> contribution.report.open[0].hint
    'Say what it is.'
    """
    if until not in STEPS:
        raise InputError(f"until={checks.shown(until)} is not a step.", f"Use {', '.join(STEPS)}.")
    path = settings.user_path(folder, "folder")
    report = check(path, env=env)
    if not report.ready or until == "check":
        return Contribution(report)
    package = pack(path, out, report=report)
    if until == "pack":
        return Contribution(report, package)
    uploaded = upload(
        path,
        out=out,
        production=production,
        publish=publish,
        confirm=confirm,
        new_version=new_version,
        report=report,
        progress=progress,
    )
    if until == "upload" or not (uploaded.production and uploaded.record.published):
        return Contribution(report, package, uploaded)
    pull_request = submit(path, out=out, to=to, env=env, report=report)
    assert isinstance(pull_request, PullRequestResult)  # noqa: S101  (not a dry run)
    return Contribution(report, package, uploaded, pull_request)
