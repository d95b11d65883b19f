"""``python -m medzoo.publishing.comment DIR``: what `trial` wrote, as one comment on a request.

Code of the pull request may have written DIR. Its files are therefore limited in number and size,
texts become blocks of code, and the pull request is the one that GitHub's event names.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from ..config import ID
from ..errors import ContributionError
from .github import Project, explained
from .pull_text import fenced
from .tokens import GITHUB, token

MARK = "<!-- medzoo: trial -->"
MOST = 5  # models in a comment
LONGEST, LARGEST = 20_000, 2 * 2**20  # characters of a report, bytes of a picture
PNG = b"\x89PNG\r\n\x1a\n"
CONTROL = re.compile(r"[^\t\n\x20-\x7e\u00a0-\u024f\u2010-\u2027]")


def reports_of(folder: Path) -> dict[str, str]:
    """Model id -> report, of the files that may be shown."""
    reports = {}
    for path in sorted(folder.glob("*.txt"))[:MOST]:
        if ID.fullmatch(path.stem) and path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                text = file.read(4 * LONGEST).decode(errors="replace")
            reports[path.stem] = CONTROL.sub("?", text)[:LONGEST].strip()
    return reports


def sheet_of(folder: Path, identifier: str) -> bytes | None:
    """The picture of a model, if it is a PNG of a usual size."""
    path = folder / f"{identifier}.png"
    if not path.is_file() or path.is_symlink() or path.stat().st_size > LARGEST:
        return None
    content = path.read_bytes()
    return content if content.startswith(PNG) else None


def comment(
    folder: Path, *, repository: str, owner: str, branch: str, commit: str, run: str
) -> str:
    """Comment on the open pull request of a branch, or renew the comment.

    Parameters
    ----------
    folder
        What `trial` wrote; it may not exist.
    repository
        OWNER/NAME of the repository that takes the pull request.
    owner, branch, commit
        Of the head of the pull request, as GitHub's event names them.
    run
        The page of the run.

    Returns
    -------
    str
        What was done.

    Raises
    ------
    ContributionError
        GitHub refuses or cannot be reached.
    """
    access = token(GITHUB)
    project = Project(access, repository, as_user=False)
    with explained(access, "read the pull request"):
        pulls = list(project.target.get_pulls(state="open", head=f"{owner}:{branch}"))
    if not pulls or pulls[0].head.sha != commit:
        return "There is no open pull request at this commit."
    lines = [MARK, f"What [the run]({run}) found at {commit[:10]}:", ""]
    reports = reports_of(folder)
    for identifier, report in reports.items():
        sheet = sheet_of(folder, identifier)
        lines += [f"### {identifier}", ""]
        if sheet:
            address = project.picture(project.target, f"sheets/{identifier}", sheet)
            lines += [f"![samples of {identifier}]({address})", ""]
        lines += [*fenced(report), ""]
    if not reports:
        lines.append("No model ran. Its page says why.")
    with explained(access, "comment"):
        issue = project.target.get_issue(pulls[0].number)
        for earlier in issue.get_comments():
            if earlier.body.startswith(MARK):
                earlier.edit("\n".join(lines))
                return "The comment was renewed."
        issue.create_comment("\n".join(lines))
    return "The comment was made."


def main(folder: Path) -> int:
    """Comment, with what the workflow says in its environment."""
    names = ("GITHUB_REPOSITORY", "OWNER", "BRANCH", "COMMIT", "RUN")
    repository, owner, branch, commit, run = (os.environ.get(name, "") for name in names)
    if not branch:
        raise ContributionError("BRANCH is not set.", "The workflow sets it.")
    print(
        comment(folder, repository=repository, owner=owner, branch=branch, commit=commit, run=run)
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
