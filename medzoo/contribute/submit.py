"""The pull request, prepared: a branch that adds the model's config to a clone of medzoo."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from .. import settings
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
) -> SubmitResult:
    """Make the branch of a pull request: one commit with the model's config under the next free
    number.

    Parameters
    ----------
    folder
        The package folder; it is packed again, so that digest and size are those of its files as
        they are.
    source
        Where the zip lies, ``zenodo:RECORD/FILE`` or ``https://...``; or ``bundled``, for a model
        that is to come with medzoo, whose files then go into the commit as well.
    repository
        A clone of medzoo.
    dry_run
        Must be True: this medzoo does not push.

    Raises
    ------
    NotAvailableError
        ``dry_run`` is False.
    ContributionError
        The package is not ready, the source is missing or of another form, there is no git, no
        clone, no author, or the model has a branch or a number already.
    """
    path = settings.user_path(folder, "folder")
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
    clone = Clone(settings.user_path(repository, "repository"))
    clone.require_author()
    base = clone.base()
    with tempfile.TemporaryDirectory(prefix="medzoo-submit-") as temporary:
        package = pack(path, temporary)
        config = resolve(path)
        identifier = _identifier(clone, base, name_of(config))
        if source == "bundled":
            kept = package_files(path)
            digests, size = (
                {f: sha256_of(path / f) for f in kept},
                sum((path / f).stat().st_size for f in kept),
            )
            text = registration(
                config, identifier, source=f"bundled:{identifier}", files=digests, size=size
            )
            # The registered config is the only one; a second would go stale.
            beside = {
                f"starter_models/{identifier}/{f}": (path / f).read_bytes()
                for f in packed(path)
                if f != PACKAGE_CONFIG
            }
            what = f"Its files are in the commit, under starter_models/{identifier}."
        else:
            text = registration(
                config, identifier, source=source, sha256=package.sha256, size=package.size
            )
            beside = {}
            what = f"The file at {source} must be {package.archive.name} with the sha256\n  {package.sha256}"
        draft = Path(temporary) / "model_configs" / f"{identifier}.yaml"
        draft.parent.mkdir()
        draft.write_text(text, encoding="utf-8", newline="\n")
        if not (report := review(draft)).ready:
            raise ContributionError(
                f"The config would not pass its review.\n{report}", "Nothing was committed."
            )
    branch = f"model/{identifier}"
    message = f"Add {identifier}\n\n{config.name}, version {config.default_version}, from {source}."
    added = {f"model_configs/{identifier}.yaml": text.encode(), **beside}
    commit = clone.commit(added, base=base, branch=branch, message=message)
    owner = (
        match[1]
        if (match := OWNER.search(clone.ask("remote", "get-url", "origin") or ""))
        else "YOU"
    )
    return SubmitResult(
        id=identifier,
        branch=branch,
        commit=commit,
        base=base,
        repository=clone.top,
        push=f"git -C {quote(str(clone.top))} push origin {branch}",
        url=f"{PROJECT}/compare/main...{owner}:{branch}?expand=1",
        check=what,
    )


def _identifier(clone: Clone, base: str, name: str) -> str:
    """``name`` under the next number that neither a config nor a waiting branch has."""
    configs = [
        n.removesuffix(".yaml") for n in clone.names(f"{base}:model_configs") if n.endswith(".yaml")
    ]
    if not configs:
        raise ContributionError(
            f"{clone.top} has no model_configs on {base}, so it is not a clone of medzoo.",
            "Clone medzoo, and give its folder with `--repository`.",
        )
    waiting = [b.removeprefix("model/") for b in clone.branches() if b.startswith("model/")]
    for known, where, hint in (
        (
            configs,
            "is registered already",
            "A new version goes into its config; CONTRIBUTING.md explains how.",
        ),
        (waiting, "has a branch already", "To make it again: git branch -D model/{}"),
    ):
        if twin := next((k for k in known if k[6:].lower() == name.lower()), None):
            raise ContributionError(f"{twin} {where}.", hint.format(twin))
    taken = {int(k[:5]) for k in (*configs, *waiting) if k[:5].isdecimal()}
    return f"{next(n for n in range(FIRST, 10**5) if n not in taken):05d}_{name}"
