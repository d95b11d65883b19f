"""The pull request, prepared: a branch that adds the model's config to a clone of medzoo."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from .. import settings
from ..config import ModelConfig
from ..errors import ContributionError, NotAvailableError
from ..files import sha256_of
from ..packages.store import package_files
from ..registry import PACKAGE_CONFIG, resolve
from .contents import packed
from .git import Clone
from .pack import name_of, pack, registration
from .review import FIRST, SOURCES, review

PROJECT = "https://github.com/medzoo/medzoo"
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
        return "\n".join(
            [
                f"{self.id}: branch {self.branch} of {self.repository}, commit {self.commit[:10]} on {self.base}.",
                "Your own branch, index and files are as they were, and nothing was pushed.",
                "",
                self.check,
                "Next, push it to your fork and open the pull request:",
                f"  {self.push}",
                f"  {self.url}",
                f"To take it back: git -C {quote(str(self.repository))} branch -D {self.branch}",
            ]
        )


def submit(
    folder: str | os.PathLike[str],
    *,
    source: str | None = None,
    repository: str | os.PathLike[str] = Path(),
    dry_run: bool = False,
    env: str = "isolated",
) -> SubmitResult:
    """Make the branch of a pull request: one commit with the model's config under the next free
    number.

    Parameters
    ----------
    folder
        The package folder. It is packed again, so that digest and size are those of its files now.
    source
        Where the zip is: ``zenodo:RECORD/FILE`` or ``https://...``. Or ``bundled``, for a model
        that comes with medzoo: its files are then part of the commit.
    repository
        A clone of medzoo.
    dry_run
        Must be True: medzoo cannot push branches yet.
    env
        Where the check runs the model, as in `check`.

    Raises
    ------
    NotAvailableError
        ``dry_run`` is False.
    ContributionError
        The package is not ready, the source is missing or has another form, git, the clone or the
        author of the commit is missing, or the model already has a branch or a number.
    """
    path = settings.user_path(folder, "folder")
    _check_request(path, source, dry_run)
    assert source is not None  # noqa: S101
    clone = Clone(settings.user_path(repository, "repository"))
    clone.require_author()
    base = clone.base()
    with tempfile.TemporaryDirectory(prefix="medzoo-submit-") as temporary:
        package = pack(path, temporary, env=env)
        config = resolve(path)
        identifier = _identifier(clone, base, name_of(config))
        beside: dict[str, bytes] = {}
        if source == "bundled":
            text = _registration_of_bundled(path, config, identifier)
            beside = _bundled_files(path, identifier)
            check = f"Its files are in the commit, under starter_models/{identifier}."
        else:
            text = registration(
                config, identifier, source=source, sha256=package.sha256, size=package.size
            )
            check = (
                f"The file at {source} must be {package.archive.name} with the sha256\n"
                f"  {package.sha256}"
            )
        _review(text, Path(temporary) / "model_configs" / f"{identifier}.yaml")
    branch = f"model/{identifier}"
    message = f"Add {identifier}\n\n{config.name}, version {config.default_version}, from {source}."
    added = {f"model_configs/{identifier}.yaml": text.encode(), **beside}
    commit = clone.commit(added, base=base, branch=branch, message=message)
    origin = OWNER.search(clone.ask("remote", "get-url", "origin") or "")
    owner = origin[1] if origin else "YOU"
    return SubmitResult(
        id=identifier,
        branch=branch,
        commit=commit,
        base=base,
        repository=clone.top,
        push=f"git -C {quote(str(clone.top))} push origin {branch}",
        url=f"{PROJECT}/compare/main...{owner}:{branch}?expand=1",
        check=check,
    )


def _check_request(path: Path, source: str | None, dry_run: bool) -> None:
    if not dry_run:
        raise NotAvailableError(
            "`medzoo contribute submit` cannot push branches yet.",
            f"Two commands do: `medzoo contribute submit {path} --source {source or 'zenodo:RECORD/FILE'} "
            "--dry-run` makes the branch and names it, `git push origin BRANCH` pushes it.",
        )
    if source is None:
        raise ContributionError(
            "`--source` is missing: it says where the zip is.",
            "Upload it, then give `--source zenodo:RECORD/FILE`; CONTRIBUTING.md explains how.",
        )
    if source != "bundled" and not SOURCES.fullmatch(source):
        raise ContributionError(
            f"source={source!r} is not an address that others can download from.",
            "Give zenodo:RECORD/FILE, https://..., or bundled.",
        )


def _registration_of_bundled(folder: Path, config: ModelConfig, identifier: str) -> str:
    digests, size = {}, 0
    for name in package_files(folder):
        digests[name] = sha256_of(folder / name)
        size += (folder / name).stat().st_size
    return registration(
        config, identifier, source=f"bundled:{identifier}", files=digests, size=size
    )


def _bundled_files(folder: Path, identifier: str) -> dict[str, bytes]:
    """Path in the repository -> content, without the package's config.

    The registered config is the only one; a second would go stale.
    """
    place = f"starter_models/{identifier}"
    names = set(packed(folder)) - {PACKAGE_CONFIG}
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
    waiting = [b.removeprefix("model/") for b in clone.branches() if b.startswith("model/")]
    if twin := _of_name(configs, name):
        hint = "A new version goes into its config; CONTRIBUTING.md explains how."
        raise ContributionError(f"{twin} is registered already.", hint)
    if twin := _of_name(waiting, name):
        hint = f"To make it again: git branch -D model/{twin}"
        raise ContributionError(f"{twin} has a branch already.", hint)
    taken = {identifier[:5] for identifier in (*configs, *waiting)}
    number = FIRST
    while f"{number:05d}" in taken:
        number += 1
    return f"{number:05d}_{name}"


def _of_name(identifiers: list[str], name: str) -> str:
    """The first identifier with a name, in any case; empty if there is none."""
    for identifier in identifiers:
        if identifier[6:].lower() == name.lower():
            return identifier
    return ""
