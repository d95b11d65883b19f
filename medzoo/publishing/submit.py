"""The pull request: a branch that adds the model's config to medzoo, in a fork on GitHub or, as a
dry run, in a clone on this machine.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from .. import settings
from ..config import ModelConfig
from ..errors import ContributionError
from ..files import digest_of, sha256_of
from ..modeltest.report import Report
from ..packages import zenodo
from ..registry import PACKAGE_CONFIG, resolve
from .contents import packed, run_files
from .git import Clone
from .github import PREFIX, Project
from .pack import PackResult, name_of, pack, registration
from .pull_text import body, title
from .review import CONTRIBUTED, SOURCES, review
from .sheet import sheet_of_model
from .tokens import GITHUB, token
from .upload import uploaded

REPOSITORY = "medzoo/medzoo"
OWNER = re.compile(r"github\.com[:/]([^/\s]+)/[^/\s]+$")


@dataclass(frozen=True)
class SubmitResult:
    """A branch that is ready to be pushed; print it for the next steps."""

    id: str
    branch: str
    commit: str
    base: str
    repository: Path
    push: str  # command
    url: str  # where the pull request is opened
    check: str  # what the uploaded file must be

    def __str__(self) -> str:
        branch = f"{self.branch} of {self.repository}"
        return "\n".join(
            [
                f"{self.id}: branch {branch}, commit {self.commit[:10]} on {self.base}.",
                "Your own branch, index and files are as they were, and nothing was pushed.",
                "",
                self.check,
                "Next, push it to your fork and open the pull request:",
                f"  {self.push}",
                f"  {self.url}",
                f"To take it back: git -C {quote(str(self.repository))} branch -D {self.branch}",
            ]
        )


@dataclass(frozen=True)
class PullRequestResult:
    """A pull request on GitHub; print it for what was done.

    Parameters
    ----------
    id
        The model's id.
    branch
        The branch of the fork.
    commit
        The last commit of that branch.
    url
        The page of the pull request.
    new
        Whether it was opened now; otherwise it was there and is up to date now.
    """

    id: str
    branch: str
    commit: str
    url: str
    new: bool

    def __str__(self) -> str:
        state = "opened" if self.new else "was open, and is up to date"
        return "\n".join(
            [
                f"{self.url}  ({state})",
                f"{self.id}: branch {self.branch}, commit {self.commit[:10]}",
                "",
                "A workflow downloads the zip, compares its digest, runs the model and comments.",
                "Tick the boxes in the text. After a change, the same command updates the pull",
                "request.",
            ]
        )


def submit(
    folder: str | os.PathLike[str],
    *,
    source: str | None = None,
    out: str | os.PathLike[str] | None = None,
    to: str = REPOSITORY,
    repository: str | os.PathLike[str] = Path(),
    dry_run: bool = False,
    env: str = "isolated",
    report: Report | None = None,
) -> PullRequestResult | SubmitResult:
    """Open the pull request that adds the model's config to medzoo under the next free number.

    Repeated, it updates the same pull request.

    Parameters
    ----------
    folder
        The package folder. It is packed again, so that digest and size are those of its files now.
    source
        Where the zip is: ``zenodo:RECORD/FILE`` or ``https://...``. Or ``bundled``, for a model
        that comes with medzoo: its files are then part of the commit. By default, the record that
        `upload` published on Zenodo.
    out
        The folder where `upload` left ``upload.json``, if it was given one.
    to
        The repository on GitHub that takes the pull request.
    repository
        A clone of medzoo, for a dry run.
    dry_run
        Only make the branch, in the clone, and push nothing.
    env
        Where the check runs the model, as in `check`.
    report
        What `check` saw, if the package was checked just now.

    Returns
    -------
    PullRequestResult or SubmitResult
        The pull request; of a dry run, the branch.

    Raises
    ------
    ContributionError
        The package is not ready, the source is missing, has another form or holds another file,
        the model is registered or submitted by others already, or there is no token, or GitHub
        refuses or cannot be reached. Of a dry run: git, the clone or the author of the commit is
        missing, or the model has a branch already.
    """
    path = settings.user_path(folder, "folder")
    target = None if out is None else settings.user_path(out, "out")
    _check_source(source)
    if dry_run:
        clone = Clone(settings.user_path(repository, "repository"))
        clone.require_author()
    else:
        project = Project(token(GITHUB), to)
    with tempfile.TemporaryDirectory(prefix="medzoo-submit-") as temporary:
        package = pack(path, temporary, env=env, report=report)
        address, doi = source or "", ""
        if not source:
            md5 = digest_of(package.archive, "md5")
            address, doi = uploaded(path, target, package.archive.name, md5)
        elif not dry_run:
            _compare(address, package)
        submission = _Submission(path, package, address, doi, Path(temporary))
        if dry_run:
            return submission.to_clone(clone)
        return submission.to_project(project, env)


class _Submission:
    """A packed model on its way into a repository."""

    def __init__(
        self, folder: Path, package: PackResult, source: str, doi: str, temporary: Path
    ) -> None:
        self.folder, self.package, self.source = folder, package, source
        self.doi, self.temporary = doi, temporary
        self.config = resolve(folder)
        self.name = name_of(self.config)

    def files(self, identifier: str) -> dict[str, bytes]:
        """Path in the repository -> content; the config first.

        Raises
        ------
        ContributionError
            The config would not pass its review.
        """
        beside: dict[str, bytes] = {}
        if self.source == "bundled":
            text = _registration_of_bundled(self.folder, self.config, identifier)
            beside = _bundled_files(self.folder, self.config, identifier)
        else:
            fields = {"sha256": self.package.sha256, "size": self.package.size}
            doi = {"doi": self.doi} if self.doi else {}
            text = registration(self.config, identifier, source=self.source, **fields, **doi)
        _review(text, self.temporary / "model_configs" / f"{identifier}.yaml")
        return {f"model_configs/{identifier}.yaml": text.encode(), **beside}

    @property
    def message(self) -> str:
        """Of the commit, below its title."""
        return f"{self.config.name}, version {self.config.default_version}, from {self.source}."

    def to_clone(self, clone: Clone) -> SubmitResult:
        """A branch in a clone."""
        base = clone.base()
        identifier = _identifier(clone, base, self.name)
        check = f"Its files are in the commit, under starter_models/{identifier}."
        if self.source != "bundled":
            check = (
                f"The file at {self.source} must be {self.package.archive.name} with the sha256\n"
                f"  {self.package.sha256}"
            )
        branch = f"{PREFIX}{identifier}"
        message = f"Add {identifier}\n\n{self.message}"
        commit = clone.commit(self.files(identifier), base=base, branch=branch, message=message)
        origin = OWNER.search(clone.ask("remote", "get-url", "origin") or "")
        owner = origin[1] if origin else "YOU"
        return SubmitResult(
            id=identifier,
            branch=branch,
            commit=commit,
            base=base,
            repository=clone.top,
            push=f"git -C {quote(str(clone.top))} push origin {branch}",
            url=f"https://github.com/{REPOSITORY}/compare/main...{owner}:{branch}?expand=1",
            check=check,
        )

    def to_project(self, project: Project, env: str) -> PullRequestResult:
        """A branch in the user's fork, and its pull request."""
        configs, waiting = project.configs(), project.waiting()
        mine = [model for model in waiting if model.owner == project.login]
        theirs = [model for model in waiting if model.owner != project.login]
        if twin := _of_name(configs, self.name):
            raise _registered_already(twin)
        for model in theirs:
            if _of_name([model.id], self.name):
                raise ContributionError(
                    f"{model.id} is in the pull request {model.url} of {model.owner}.",
                    "Give your model another name: the id in its config.",
                )
        fork = project.fork()
        branches = project.branches(fork)
        taken = [*configs, *(model.id for model in theirs)]
        identifier = _of_name([*(model.id for model in mine), *branches], self.name)
        numbers = {other[:5] for other in taken}
        if identifier and identifier[:5] in numbers:
            raise ContributionError(
                f"The number {int(identifier[:5])} of {identifier} was given to another model "
                "meanwhile.",
                f"Close your pull request, delete its branch {PREFIX}{identifier}, and run the "
                "same command again: it takes the next number.",
            )
        if not identifier:
            identifier = next_identifier([*taken, *branches], self.name)
        branch = f"{PREFIX}{identifier}"
        added = self.files(identifier)
        name = f"Add {identifier}"
        commit, _ = project.commit(fork, branch, added, f"{name}\n\n{self.message}")
        sheet = sheet_of_model(self.folder, env=env)
        picture = project.picture(fork, f"sheets/{identifier}", sheet) if sheet else ""
        text = body(self.config, identifier, self.source, self.package, picture)
        pull, new = project.pull_request(fork, branch, title(self.config, identifier), text)
        return PullRequestResult(
            id=identifier, branch=branch, commit=commit, url=pull.html_url, new=new
        )


def _check_source(source: str | None) -> None:
    if source is not None and source != "bundled" and not SOURCES.fullmatch(source):
        raise ContributionError(
            f"source={source!r} is not an address that others can download from.",
            "Give zenodo:RECORD/FILE, https://..., or bundled.",
        )


def _compare(source: str, package: PackResult) -> None:
    """Compare the file of a record with the zip that the package makes now.

    Raises
    ------
    ContributionError
        It is another file.
    """
    scheme, _, location = source.partition(":")
    if scheme != "zenodo":
        return  # the workflow of the pull request downloads it
    md5 = digest_of(package.archive, "md5")
    published = zenodo.ask(location).md5
    if published != md5:
        raise ContributionError(
            f"{source} is not the zip that the package makes now.\n"
            f"  of the package  md5 {md5}\n  of the record   md5 {published}",
            "Upload a new version, or give the record that holds this zip.",
        )


def _registration_of_bundled(folder: Path, config: ModelConfig, identifier: str) -> str:
    digests, size = {}, 0
    for name in run_files(folder, config.default):
        digests[name] = sha256_of(folder / name)
        size += (folder / name).stat().st_size
    return registration(
        config, identifier, source=f"bundled:{identifier}", files=digests, size=size
    )


def _bundled_files(folder: Path, config: ModelConfig, identifier: str) -> dict[str, bytes]:
    """Path in the repository -> content, without the package's config.

    The registered config is the only one; a second would go stale.
    """
    place = f"starter_models/{identifier}"
    names = set(packed(folder, config.default)) - {PACKAGE_CONFIG}
    return {f"{place}/{name}": (folder / name).read_bytes() for name in sorted(names)}


def _review(text: str, draft: Path) -> None:
    """Raise ContributionError if a config with this text would not pass its review."""
    draft.parent.mkdir()
    draft.write_text(text, encoding="utf-8", newline="\n")
    report = review(draft)
    if not report.ready:
        raise ContributionError(
            f"The config would not pass its review.\n{report}", "Nothing was committed."
        )


def _identifier(clone: Clone, base: str, name: str) -> str:
    """``name`` with the next number that neither a config nor a waiting branch has."""
    files = clone.names(f"{base}:model_configs")
    configs = [file.removesuffix(".yaml") for file in files if file.endswith(".yaml")]
    if not configs:
        raise ContributionError(
            f"{clone.top} has no model_configs on {base}, so it is not a clone of medzoo.",
            "Clone medzoo, and give its folder with `--repository`.",
        )
    waiting = [b.removeprefix(PREFIX) for b in clone.branches() if b.startswith(PREFIX)]
    if twin := _of_name(configs, name):
        raise _registered_already(twin)
    if twin := _of_name(waiting, name):
        hint = f"To make it again: git branch -D {PREFIX}{twin}"
        raise ContributionError(f"{twin} has a branch already.", hint)
    return next_identifier([*configs, *waiting], name)


def next_identifier(taken: Iterable[str], name: str) -> str:
    """``name`` with the first number from 1001 that no id in ``taken`` has."""
    numbers = {identifier[:5] for identifier in taken}
    number = CONTRIBUTED
    while f"{number:05d}" in numbers:
        number += 1
    return f"{number:05d}_{name}"


def _registered_already(twin: str) -> ContributionError:
    hint = "A new version goes into its config; CONTRIBUTING.md explains how."
    return ContributionError(f"{twin} is registered already.", hint)


def _of_name(identifiers: Iterable[str], name: str) -> str:
    """The first identifier with a name, in any case; empty if there is none."""
    for identifier in identifiers:
        if identifier[6:].lower() == name.lower():
            return identifier
    return ""
