"""A git clone: read, and given new commits, without a change to what its user has checked out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import ContributionError

# variables that git sets inside hooks, and that would lead to another repository
SET_IN_HOOKS = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
)


class Clone:
    """A git repository with a work tree.

    Parameters
    ----------
    folder
        The clone, or a folder in it.

    Raises
    ------
    ContributionError
        There is no git, or no repository.
    """

    def __init__(self, folder: Path) -> None:
        self.top = folder.expanduser()
        problem = f"{self.top.absolute()} is not a git repository."
        hint = "Clone medzoo, and give its folder with `--repository`."
        if not self.top.is_dir():
            raise ContributionError(problem, hint)
        done = self._call(("rev-parse", "--show-toplevel"), b"", None)
        said = done.stderr.decode(errors="replace").strip()
        if done.returncode and "not a git repository" in said:
            raise ContributionError(problem, hint)
        if done.returncode:  # of another user, or without a work tree
            raise ContributionError(f"git cannot use {self.top.absolute()}:\n{said}", hint)
        self.top = Path(done.stdout.decode(errors="replace").removesuffix("\n"))

    def run(self, *arguments: str, content: bytes = b"", index: Path | None = None) -> str:
        """What a git command prints, without the line end.

        Raises
        ------
        ContributionError
            It fails; carries what git said.
        """
        done = self._call(arguments, content, index)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise ContributionError(
                f"`git {' '.join(arguments)}` failed in {self.top}:\n{said}",
                "Nothing of yours was changed.",
            )
        return done.stdout.decode(errors="replace").removesuffix("\n")

    def ask(self, *arguments: str) -> str | None:
        """What a git command prints, or None if it fails."""
        done = self._call(arguments, b"", None)
        return None if done.returncode else done.stdout.decode(errors="replace").removesuffix("\n")

    def _call(
        self, arguments: tuple[str, ...], content: bytes, index: Path | None
    ) -> subprocess.CompletedProcess[bytes]:
        program = shutil.which("git")
        if program is None:
            raise ContributionError(
                "There is no git on this machine.", "Install it: https://git-scm.com"
            )
        env = {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
        for name in SET_IN_HOOKS:
            env.pop(name, None)
        if index is not None:
            env["GIT_INDEX_FILE"] = str(index)
        command = [program, "-C", str(self.top), *arguments]
        return subprocess.run(  # noqa: S603
            command, input=content, capture_output=True, env=env, check=False
        )

    def require_author(self) -> None:
        """Check that a commit would have an author that the user has set.

        Raises
        ------
        ContributionError
            Neither git's config nor its environment names one.
        """
        for role in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
            if self.ask("-c", "user.useConfigOnly=true", "var", role) is None:
                raise ContributionError(
                    "git does not know who you are.",
                    "Tell it: git config --global user.name 'First Last' "
                    "and git config --global user.email you@example.org",
                )

    def base(self) -> str:
        """Where a pull request starts: the main branch as last fetched, or what is checked out."""
        for name in ("upstream/main", "origin/main", "main"):
            if self.ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"):
                return name
        return "HEAD"

    def names(self, tree: str) -> list[str]:
        """The names in a folder of a commit, such as ``main:model_configs``; none if it does not
        exist.
        """
        return (self.ask("ls-tree", "--name-only", tree) or "").split("\n")

    def branches(self) -> list[str]:
        """The names of the local branches, and of the remote ones as last fetched."""
        local = self.run("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads")
        remote = self.run("for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes")
        return local.split() + remote.split()

    def commit(self, files: Mapping[str, bytes], *, base: str, branch: str, message: str) -> str:
        """Make a branch with one commit that adds files to ``base``.

        The work tree, the index and the current branch do not change.

        Returns
        -------
        str
            The commit.
        """
        with tempfile.TemporaryDirectory(prefix="medzoo-index-") as folder:
            index = Path(folder) / "index"  # a separate index: the user's index does not change
            self.run("read-tree", base, index=index)
            for name, content in files.items():
                blob = self.run("hash-object", "-w", "--stdin", content=content)
                self.run(
                    "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", index=index
                )
            tree = self.run("write-tree", index=index)
        commit = self.run("commit-tree", tree, "-p", base, "-m", message)
        # The empty last argument makes git refuse a branch that exists.
        self.run("update-ref", f"refs/heads/{branch}", commit, "")
        return commit
