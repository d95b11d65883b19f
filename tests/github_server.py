"""GitHub's REST API on the loopback, over real sockets: forks, git objects, refs, pull requests, comments.

Objects belong to a repository and all its forks, as on GitHub. ``fault`` answers the next requests whose line holds a text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "ghp_sesame4c81f0d9e2"


@dataclass
class Commit:
    """A commit; its tree is a mapping of path to content."""

    tree: dict[str, bytes]
    parents: list[str]
    message: str


@dataclass
class Repository:
    """A repository: branch to commit."""

    owner: str
    name: str
    refs: dict[str, str] = field(default_factory=dict)
    pending: int = 0  # how often it is answered that it is not there yet


@dataclass
class Fault:
    """An answer in place of the right one."""

    status: int
    message: str = "no"
    headers: dict[str, str] = field(default_factory=dict)


class GitHubServer:
    """See the module. Its user is ``author``, its token ``TOKEN``; it has medzoo/medzoo with some files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.blobs: dict[str, bytes] = {}
        self.trees: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, Commit] = {}
        self.repositories = {"medzoo/medzoo": Repository("medzoo", "medzoo")}
        self.pulls: list[dict[str, Any]] = []
        self.comments: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.faults: list[tuple[str, Fault]] = []
        self.pending = 0  # of a new fork
        self.commit_on("medzoo/medzoo", "main", files)
        handler = type("Handler", (_Handler,), {"github": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> GitHubServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self, on: str, status: int, message: str = "no", **headers: str) -> None:
        """The next request whose ``METHOD /path`` holds ``on`` gets this."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append((on, Fault(status, message, names)))

    def made(self, what: str) -> int:
        """How many requests held a text."""
        return sum(what in line for line in self.log)

    def keep_tree(self, files: dict[str, bytes]) -> str:
        parts = [
            path.encode() + b"\0" + hashlib.sha1(files[path]).digest() for path in sorted(files)
        ]
        sha = hashlib.sha1(b"tree" + b"".join(parts)).hexdigest()
        self.trees[sha] = files
        return sha

    def keep_commit(self, commit: Commit) -> str:
        content = f"commit {self.keep_tree(commit.tree)} {commit.parents} {commit.message}"
        sha = hashlib.sha1(content.encode()).hexdigest()
        self.commits[sha] = commit
        return sha

    def commit_on(self, name: str, branch: str, files: dict[str, bytes]) -> str:
        """Put files on top of a branch, as somebody else would."""
        refs = self.repositories[name].refs
        before = refs.get(branch)
        tree = {**(self.commits[before].tree if before else {}), **files}
        refs[branch] = self.keep_commit(Commit(tree, [before] if before else [], "Others"))
        return refs[branch]

    def content(self, name: str, branch: str) -> dict[str, bytes]:
        """The files of a branch."""
        return self.commits[self.repositories[name].refs[branch]].tree

    def open_pull(self, owner: str, branch: str, **fields: Any) -> dict[str, Any]:
        number = len(self.pulls) + 1
        pull = {
            "number": number,
            "state": "open",
            "title": "",
            "body": "",
            "merged_at": None,
            "html_url": f"https://github.com/medzoo/medzoo/pull/{number}",
            "url": f"{self.url}/repos/medzoo/medzoo/pulls/{number}",
            "head": {
                "ref": branch,
                "user": {"login": owner},
                "label": f"{owner}:{branch}",
                "sha": "c0ffee",
            },
            **fields,
        }
        self.pulls.append(pull)
        return pull


class _Handler(BaseHTTPRequestHandler):
    github: GitHubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def handle_any(self) -> None:
        server = self.github
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size) or b"null")
        address = urlsplit(self.path)
        path, query = unquote(address.path), parse_qs(address.query)
        line = f"{self.command} {path}"
        server.log.append(line)
        authorization = self.headers.get("Authorization", "")
        for k, (on, fault) in enumerate(server.faults):
            if on in line:
                del server.faults[k]
                self.say(
                    fault.status, {"message": f"{fault.message} {authorization}"}, fault.headers
                )
                return
        if authorization != f"token {TOKEN}":
            self.say(401, {"message": f"Bad credentials {authorization}"})
            return
        self.say(*self.carry_out(path, query, body))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any

    def say(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def carry_out(self, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        """Status and content of an answer."""
        missing = 404, {"message": "Not Found"}
        if path == "/user":
            return 200, {"login": "author", "url": f"{self.github.url}/users/author"}
        match = re.fullmatch(r"/repos/([^/]+)/([^/]+)(/.*)?", path)
        if not match:
            return missing
        repository = self.github.repositories.get(f"{match[1]}/{match[2]}")
        rest = (match[3] or "").strip("/")
        if repository is None:
            return missing
        if repository.pending:
            repository.pending -= 1
            return 409, {"message": "Git Repository is empty."}
        if rest == "":
            return 200, self.repository(repository)
        kind, _, name = rest.partition("/")
        return getattr(self, f"_{kind}", lambda *_: missing)(repository, name, query, body)

    def repository(self, r: Repository) -> dict[str, Any]:
        full = f"{r.owner}/{r.name}"
        return {
            "full_name": full,
            "name": r.name,
            "owner": {"login": r.owner},
            "default_branch": "main",
            "url": f"{self.github.url}/repos/{full}",
            "html_url": f"https://github.com/{full}",
        }

    def _forks(self, r: Repository, *_: Any) -> tuple[int, Any]:
        full = f"author/{r.name}"
        if full not in self.github.repositories:
            self.github.repositories[full] = Repository(
                "author", r.name, dict(r.refs), self.github.pending
            )
        return 202, self.repository(self.github.repositories[full])

    def _branches(self, r: Repository, name: str, *_: Any) -> tuple[int, Any]:
        if name not in r.refs:
            return 404, {"message": "Branch not found"}
        return 200, {"name": name, "commit": self.commit(r, r.refs[name])}

    def commit(self, r: Repository, sha: str) -> dict[str, Any]:
        commit = self.github.commits[sha]
        tree = self.github.keep_tree(commit.tree)
        base = f"{self.github.url}/repos/{r.owner}/{r.name}/git"
        return {
            "sha": sha,
            "url": f"{base}/commits/{sha}",
            "message": commit.message,
            "tree": {"sha": tree, "url": f"{base}/trees/{tree}"},
            "parents": [{"sha": parent} for parent in commit.parents],
        }

    def _git(self, r: Repository, name: str, query: Any, body: Any) -> tuple[int, Any]:
        kind, _, rest = name.partition("/")
        if kind == "trees" and self.command == "GET":
            return self.tree(rest)
        if kind == "commits" and self.command == "GET":
            return 200, self.commit(r, rest)
        if kind == "blobs":
            content = base64.b64decode(body["content"])
            sha = hashlib.sha1(content).hexdigest()
            self.github.blobs[sha] = content
            return 201, {"sha": sha, "url": ""}
        if kind == "trees":
            files = dict(self.github.trees.get(body.get("base_tree", ""), {}))
            for entry in body["tree"]:
                files[entry["path"]] = self.github.blobs[entry["sha"]]
            return 201, {"sha": self.github.keep_tree(files), "url": "", "tree": []}
        if kind == "commits":
            tree = self.github.trees[body["tree"]]
            sha = self.github.keep_commit(Commit(tree, body["parents"], body["message"]))
            return 201, self.commit(r, sha)
        return self.refs(r, kind, rest, body)

    def refs(self, r: Repository, kind: str, rest: str, body: Any) -> tuple[int, Any]:
        branch = rest.removeprefix("heads/")
        if kind == "matching-refs":
            return 200, [self.ref(r, b) for b in sorted(r.refs) if b.startswith(branch)]
        if kind == "ref":
            if branch in r.refs:
                return 200, self.ref(r, branch)
            return 404, {"message": "Not Found"}
        if self.command == "POST":
            branch = body["ref"].removeprefix("refs/heads/")
            if branch in r.refs:
                return 422, {"message": "Reference already exists"}
        r.refs[branch] = body["sha"]
        return 201 if self.command == "POST" else 200, self.ref(r, branch)

    def ref(self, r: Repository, branch: str) -> dict[str, Any]:
        base = f"{self.github.url}/repos/{r.owner}/{r.name}/git"
        return {
            "ref": f"refs/heads/{branch}",
            "url": f"{base}/refs/heads/{branch}",
            "object": {"sha": r.refs[branch], "type": "commit"},
        }

    def tree(self, sha: str) -> tuple[int, Any]:
        files = self.github.trees.get(sha) or self.github.commits[sha].tree
        entries: dict[str, dict[str, Any]] = {}
        for path in files:
            top, _, below = path.partition("/")
            if not below:
                entries[top] = {
                    "path": top,
                    "type": "blob",
                    "sha": hashlib.sha1(files[path]).hexdigest(),
                }
            elif top not in entries:
                inside = {p[len(top) + 1 :]: f for p, f in files.items() if p.startswith(f"{top}/")}
                entries[top] = {"path": top, "type": "tree", "sha": self.github.keep_tree(inside)}
        return 200, {"sha": sha, "tree": list(entries.values()), "truncated": False}

    def _contents(self, r: Repository, name: str, query: Any, _body: Any) -> tuple[int, Any]:
        files = self.github.content(f"{r.owner}/{r.name}", query["ref"][0])
        if name not in files:
            return 404, {"message": "Not Found"}
        return 200, {"path": name, "name": name, "type": "file", "sha": "0", "size": 1}

    def _pulls(self, r: Repository, name: str, query: Any, body: Any) -> tuple[int, Any]:
        server = self.github
        if name:
            pull = server.pulls[int(name) - 1]
            pull |= body or {}
            return 200, pull
        if self.command == "POST":
            owner, _, branch = body["head"].partition(":")
            if any(
                p["head"]["label"] == body["head"] and p["state"] == "open" for p in server.pulls
            ):
                return 422, {"message": "Validation Failed", "errors": [{"message": "exists"}]}
            return 201, server.open_pull(owner, branch, title=body["title"], body=body["body"])
        state, head = query.get("state", ["open"])[0], query.get("head", [""])[0]
        return 200, [
            p
            for p in server.pulls
            if state in {"all", p["state"]} and head in {"", p["head"]["label"]}
        ]

    def _issues(self, r: Repository, name: str, query: Any, body: Any) -> tuple[int, Any]:
        server = self.github
        if name.startswith("comments/"):
            server.comments[int(name.removeprefix("comments/")) - 1] |= body
            return 200, server.comments[int(name.removeprefix("comments/")) - 1]
        number = int(name.partition("/")[0])
        if name.endswith("/comments"):
            if self.command == "POST":
                made = {
                    "id": len(server.comments) + 1,
                    "issue": number,
                    "user": {"login": "author"},
                }
                made |= body
                made["url"] = f"{server.url}/repos/{r.owner}/{r.name}/issues/comments/{made['id']}"
                server.comments.append(made)
                return 201, made
            return 200, [c for c in server.comments if c["issue"] == number]
        if self.command == "GET":
            return 200, {
                "number": number,
                "url": f"{server.url}/repos/{r.owner}/{r.name}/issues/{number}",
            }
        return 404, {"message": "Not Found"}
