"""GitHub by PyGithub: a fork, a branch with one commit, a pull request; each is made once."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import settings
from ..errors import ContributionError
from ..packages import http
from .tokens import Token

if TYPE_CHECKING:
    from github import Github
    from github.GitCommit import GitCommit
    from github.GitRef import GitRef
    from github.PullRequest import PullRequest
    from github.Repository import Repository

PREFIX = "model/"  # of the branches of models
PACE: dict[str, Any] = {
    "seconds_between_requests": 0.25,
    "seconds_between_writes": 1.0,
}  # as GitHub asks for
READY = 12  # how often it is asked whether a fork is ready
BEGIN, END = "<!-- medzoo: begin -->", "<!-- medzoo: end -->"
AGAIN = "Run the same command again: it continues."
SCOPES = (
    "The token lacks a scope. A classic token needs public_repo; a fine-grained one needs Contents "
    "and Pull requests (read and write), and Administration for the fork."
)


@dataclass(frozen=True)
class Waiting:
    """An open pull request with a model.

    Parameters
    ----------
    id
        The model's id, from the name of its branch.
    owner
        Whose fork the branch is in.
    url
        Its page.
    """

    id: str
    owner: str
    url: str


def client(token: Token) -> Github:
    """PyGithub with a token. It waits as long as GitHub asks for, up to five minutes.

    Raises
    ------
    ContributionError
        PyGithub is not installed, or the address is not secure.
    """
    try:
        from github import Auth, Github
        from github.GithubRetry import GithubRetry
    except ImportError as error:
        raise ContributionError(
            "Pull requests need PyGithub, which is not installed.",
            "pip install 'medzoo[contribute]'",
        ) from error
    url = settings.github()
    if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise ContributionError(
            f"{url} is not secure, so no token is sent there.", "Give an https:// address."
        )
    return Github(
        auth=Auth.Token(token.value),
        base_url=url,
        user_agent=http.USER_AGENT,
        retry=GithubRetry(
            total=http.policy.attempts - 1,
            backoff_factor=http.policy.pause,
            max_rate_limit_wait=http.policy.patience,
        ),
        **PACE,
    )


@contextmanager
def explained(token: Token, what: str) -> Iterator[None]:
    """Turn errors of GitHub into errors that say what to do.

    Parameters
    ----------
    token
        Whose value is taken out of messages.
    what
        What GitHub is asked to do.
    """
    from github import GithubException, RateLimitExceededException
    from requests import RequestException

    service = token.service
    try:
        yield
    except RateLimitExceededException as error:
        raise ContributionError(
            f"GitHub was asked to {what}; its limit for this account is used up ({error.status}).",
            f"It is free again within an hour. {AGAIN}",
        ) from None
    except GithubException as error:
        if error.status == 401:
            raise ContributionError(
                f"GitHub does not accept the token in {service.variable} (401).",
                f"It has expired or was revoked. {service.hint}",
            ) from None
        said = token.hide(_said(error))
        raise ContributionError(
            f"GitHub was asked to {what} and answers {error.status}: {said}.",
            _hint(error.status, service.hint),
        ) from None
    except RequestException as error:
        raise ContributionError(
            f"GitHub was asked to {what}, and cannot be reached, or fails "
            f"({type(error).__name__}).",
            f"Is there a network? {AGAIN}",
        ) from None


def _said(error: Any) -> str:
    data = error.data if isinstance(error.data, dict) else {}
    parts = [str(data.get("message") or error.message or "no message").rstrip(".")]
    for detail in data.get("errors") or []:
        parts.append(str(detail.get("message") or detail) if isinstance(detail, dict) else detail)
    return "; ".join(map(str, parts))[:500]


def _hint(status: int, token_hint: str) -> str:
    if status == 403:
        return f"{SCOPES} {token_hint}"
    if status == 404:
        return "Is the repository's name right, and may the token read it?"
    if status == 409:
        return f"Something else changes the fork at this moment. {AGAIN}"
    return AGAIN


class Project:
    """The repository that takes the pull request, and the user's fork of it.

    Parameters
    ----------
    token
        The user's token.
    name
        OWNER/NAME of the repository.
    as_user
        Whether the token is that of a person; that of a workflow has no user.

    Raises
    ------
    ContributionError
        GitHub refuses or cannot be reached. This is so for each method.
    """

    def __init__(self, token: Token, name: str, *, as_user: bool = True) -> None:
        self.token = token
        self._github = client(token)
        with explained(token, f"open {name}"):
            self.login = self._github.get_user().login if as_user else ""
            self.target = self._github.get_repo(name)
            branch = self.target.get_branch(self.target.default_branch)
            self.base = branch.commit.sha

    def configs(self) -> list[str]:
        """The ids of the configs in the repository."""
        with explained(self.token, "list model_configs"):
            root = self.target.get_git_tree(self.base)
            for entry in root.tree:
                if entry.path == "model_configs" and entry.type == "tree":
                    files = [file.path for file in self.target.get_git_tree(entry.sha).tree]
                    return [f.removesuffix(".yaml") for f in files if f.endswith(".yaml")]
        raise ContributionError(
            f"{self.target.full_name} has no model_configs, so it is not medzoo.",
            "Give another repository with `--to OWNER/NAME`.",
        )

    def waiting(self) -> list[Waiting]:
        """The models of open pull requests."""
        models = []
        with explained(self.token, "list the open pull requests"):
            for pull in self.target.get_pulls(state="open"):
                if pull.head.ref.startswith(PREFIX):
                    owner = pull.head.user.login if pull.head.user else ""
                    models.append(Waiting(pull.head.ref.removeprefix(PREFIX), owner, pull.html_url))
        return models

    def fork(self) -> Repository:
        """The user's fork, made if there is none; the repository itself if it is the user's.

        Raises
        ------
        ContributionError
            GitHub is not ready with it after a while.
        """
        if self.target.owner.login == self.login:
            return self.target
        with explained(self.token, f"fork {self.target.full_name}"):
            fork = self.target.create_fork()  # an existing one is returned
        from github import GithubException

        for attempt in range(READY):
            with explained(self.token, "open your fork"):
                try:
                    fork.get_branch(fork.default_branch)
                except GithubException as error:
                    if error.status not in {404, 409}:  # not there yet, or still empty
                        raise
                else:
                    return fork
            http.policy.sleep(min(30.0, http.policy.pause * 2**attempt))
        raise ContributionError(
            f"GitHub is still making your fork {fork.full_name}.",
            f"This takes some minutes at times. {AGAIN}",
        )

    def branches(self, fork: Repository) -> list[str]:
        """The ids of the models that have a branch in the fork."""
        with explained(self.token, "list the branches of your fork"):
            refs = fork.get_git_matching_refs(f"heads/{PREFIX}")
            return [ref.ref.removeprefix(f"refs/heads/{PREFIX}") for ref in refs]

    def commit(
        self, fork: Repository, branch: str, files: Mapping[str, bytes], message: str
    ) -> tuple[str, bool]:
        """Bring files into a branch with one commit; an existing branch gets another one.

        Returns
        -------
        str
            The commit.
        bool
            Whether it is new; not if the branch has these files already.

        Raises
        ------
        ContributionError
            The branch exists and holds something else.
        """
        with explained(self.token, f"write the branch {branch} of your fork"):
            ref = _ref(fork, branch)
            parent = fork.get_git_commit(ref.object.sha if ref else self.base)
            if ref and not _has_file(fork, branch, next(iter(files))):
                raise ContributionError(
                    f"{fork.full_name} has a branch {branch} with something else in it.",
                    f"Delete or rename that branch. {AGAIN}",
                )
            commit = _commit(fork, files, message, parent)
            if commit is None:
                return parent.sha, False
            if ref:
                ref.edit(commit.sha)
            else:
                fork.create_git_ref(f"refs/heads/{branch}", commit.sha)
            return commit.sha, True

    def picture(self, fork: Repository, branch: str, content: bytes) -> str:
        """Put a PNG into a separate branch, which no pull request merges; returns its address."""
        with explained(self.token, f"write the branch {branch} of your fork"):
            ref = _ref(fork, branch)
            last = fork.get_git_commit(ref.object.sha) if ref else None
            commit = _commit(fork, {"sheet.png": content}, "Sample sheet", None, last)
            if commit is None:
                assert last is not None  # noqa: S101
                commit = last
            elif ref:
                ref.edit(commit.sha, force=True)
            else:
                fork.create_git_ref(f"refs/heads/{branch}", commit.sha)
            return f"{fork.html_url}/raw/{commit.sha}/sheet.png"

    def pull_request(
        self, fork: Repository, branch: str, title: str, body: str
    ) -> tuple[PullRequest, bool]:
        """Open the pull request of a branch, or update the open one.

        What people wrote below or above medzoo's part of its text stays.

        Returns
        -------
        PullRequest
            It.
        bool
            Whether it is new.

        Raises
        ------
        ContributionError
            It was closed.
        """
        head = f"{fork.owner.login}:{branch}"
        with explained(self.token, "open the pull request"):
            pulls = list(self.target.get_pulls(state="all", head=head))
            for pull in pulls:
                if pull.state == "open":
                    pull.edit(title=title, body=_renewed(pull.body or "", body))
                    return pull, False
            closed = next((p for p in pulls if p.merged_at is None), None)
            if closed is not None:
                raise ContributionError(
                    f"The pull request {closed.html_url} was closed.",
                    f"Reopen it on its page if that is settled. {AGAIN}",
                )
            made = self.target.create_pull(
                title=title,
                body=body,
                base=self.target.default_branch,
                head=head,
                maintainer_can_modify=True,
            )
            return made, True


def _ref(repository: Repository, branch: str) -> GitRef | None:
    from github import UnknownObjectException

    with suppress(UnknownObjectException):
        return repository.get_git_ref(f"heads/{branch}")
    return None


def _has_file(repository: Repository, branch: str, name: str) -> bool:
    from github import UnknownObjectException

    with suppress(UnknownObjectException):
        repository.get_contents(name, ref=branch)
        return True
    return False


def _commit(
    repository: Repository,
    files: Mapping[str, bytes],
    message: str,
    parent: GitCommit | None,
    last: GitCommit | None = None,
) -> GitCommit | None:
    """A commit with files on top of ``parent``; None if it or ``last`` has the same content."""
    from github import InputGitTreeElement

    elements = []
    for name, content in files.items():
        blob = repository.create_git_blob(base64.b64encode(content).decode(), "base64")
        elements.append(InputGitTreeElement(name, "100644", "blob", sha=blob.sha))
    tree = repository.create_git_tree(elements, *([parent.tree] if parent else []))
    before = parent or last
    if before is not None and tree.sha == before.tree.sha:
        return None
    return repository.create_git_commit(message, tree, [parent] if parent else [])


def _renewed(old: str, new: str) -> str:
    """The text of a pull request with medzoo's part replaced, and the rest as it was."""
    start, end = old.find(BEGIN), old.find(END)
    if not 0 <= start < end or BEGIN not in new:
        return new
    part = new[new.index(BEGIN) : new.index(END)]
    return old[:start] + part + old[end:]
