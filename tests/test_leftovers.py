"""What dead processes leave, users who share a cache, and machines without the usual places."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import ROOT
from package_index import JSON, PackageIndex, serve

from medzoo import files, scratch, settings
from medzoo.cli import main
from medzoo.environments import records, uv
from medzoo.errors import BuildError, InputError, IntegrityError, SourceError
from medzoo.packages import cache
from medzoo.packages.http import get_json, get_json_pages

linux = pytest.mark.skipif(sys.platform != "linux", reason="of Linux")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files, of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(scratch, "YOUNG", 0.0)
    return folder


# Temporary folders


def test_what_a_killed_process_left_is_listed_and_cleared(
    temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import sys, time\nfrom medzoo.scratch import Scratch\nfolder = Scratch('inputs')\n"
        "(folder.path / 'a').write_text('b')\nprint(folder.path, flush=True)\ntime.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    left = Path(owner.stdout.readline().strip())
    assert left.parent == temporary
    assert list(scratch.abandoned()) == []  # it is in use
    owner.kill()
    owner.communicate()
    assert list(scratch.abandoned()) == [left]
    assert main(["cache", "--json"]) == 0
    assert str(left) in {e["path"] for e in json.loads(capsys.readouterr().out)["entries"]}
    scratch._clear_once.cache_clear()
    own = scratch.Scratch()
    assert not left.exists()
    assert own.path.is_dir()
    own.remove()
    assert list(temporary.iterdir()) == []


def test_folders_of_others_stay(temporary: Path) -> None:
    (temporary / "medzoo-of-someone").mkdir()
    (temporary / "other").mkdir()
    scratch._clear_once.cache_clear()
    with scratch.scratch("mine") as folder:
        assert folder.is_dir()
    assert len(list(temporary.iterdir())) == 2


@linux
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGXCPU", "SIGUSR1"])
def test_signals_of_batch_systems_leave_nothing(temporary: Path, tmp_path: Path, name: str) -> None:
    code = (
        "import signal, sys, time\nfrom medzoo import cli\nfrom medzoo.scratch import scratch\n"
        f"signal.signal(signal.{name}, signal.SIG_DFL)\n"  # nohup ignores SIGHUP
        "def run(parsed):\n    with scratch():\n        print('ready', flush=True)\n"
        "        time.sleep(600)\n"
        "cli.COMMANDS['list'] = run\nsys.exit(cli.main(['list']))"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "ready\n"
    number = getattr(signal, name)
    command.send_signal(number)
    _, errors = command.communicate(timeout=30)
    assert command.returncode == 128 + number
    assert errors.startswith(f"medzoo: ended by {name}")
    assert list(temporary.iterdir()) == []


# uv


@linux
def test_uv_ends_with_its_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "number"
    program = tmp_path / "uv"
    program.write_text(f"#!/bin/sh\nsetsid sleep 600 &\necho $$ $! > {mark}\nsleep 600\n")
    program.chmod(0o755)
    code = (
        "import uv as binary\n"
        f"binary.find_uv_bin = lambda: {str(program)!r}\n"
        "from medzoo.environments.uv import uv\nuv('pip', failure='x')"
    )
    caller = subprocess.Popen([sys.executable, "-c", code])
    while not mark.exists() or not mark.read_text().endswith("\n"):
        time.sleep(0.05)
    numbers = list(map(int, mark.read_text().split()))
    assert all(map(psutil.pid_exists, numbers))
    caller.kill()
    caller.wait()
    until = time.monotonic() + 5
    while any(map(psutil.pid_exists, numbers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, numbers))


def test_uv_says_what_it_says_and_fails_as_it_fails() -> None:
    assert uv.uv("--version", failure="x").startswith("uv ")
    with pytest.raises(BuildError, match="x: uv ended with code 2"):
        uv.uv("no-such-command", failure="x")


def test_links_into_the_cache_of_uv_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_LINK_MODE", "symlink")
    assert "UV_LINK_MODE" not in uv.clean_environment()
    monkeypatch.setenv("UV_LINK_MODE", "copy")
    assert uv.clean_environment()["UV_LINK_MODE"] == "copy"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_of_an_institute_reach_uv_and_downloads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(other, raising=False)
    assert settings.certificates() == ""
    bundle = tmp_path / "institute.pem"
    bundle.touch()
    monkeypatch.setenv(name, str(bundle))
    assert uv.clean_environment()["SSL_CERT_FILE"] == str(bundle)
    assert "REQUESTS_CA_BUNDLE" not in uv.clean_environment()
    assert settings.certificates() == (str(bundle) if name == "SSL_CERT_FILE" else "")


@pytest.fixture
def institute(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """The certificate of an authority that only this institute knows, and one for localhost that it
    signed.
    """
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificates")
    (tmp_path / "names").write_text(
        "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n"
    )
    authority = "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2"
    ask = "req -newkey rsa:2048 -nodes -keyout key.pem -out request -subj /CN=localhost"
    sign = "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
    use = "-addext keyUsage=critical,keyCertSign,cRLSign -subj /CN=institute"
    for line in (f"{authority} {use}", ask, f"{sign} -extfile names -out localhost.pem"):
        subprocess.run(["openssl", *line.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "localhost.pem", tmp_path / "key.pem")
    return tmp_path / "ca.pem", context


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", None])
def test_a_server_with_the_certificate_of_an_institute(
    name: str | None,
    institute: tuple[Path, ssl.SSLContext],
    index: PackageIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(other, raising=False)
    authority, context = institute
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setattr("medzoo.packages.http.policy.__class__.pause", 0.0)
    if name:
        monkeypatch.setenv(name, str(authority))
    with serve(index.folder, context) as secure:
        monkeypatch.setenv("UV_DEFAULT_INDEX", secure.url)
        venv = tmp_path / "venv"
        uv.uv("venv", "--python", sys.executable, venv, failure="x")
        install = ("pip", "install", "--python", records.python_of(venv), "numpy==1.26.0")
        if name:
            uv.uv(*install, failure="x")
            (page,) = get_json_pages(f"{secure.url}/numpy", headers={"Accept": JSON}, pages=1)
            assert page["name"] == "numpy"
        else:
            with pytest.raises(BuildError, match="certificate"):
                uv.uv(*install, failure="x")
            with pytest.raises(SourceError, match="REQUESTS_CA_BUNDLE or SSL_CERT_FILE"):
                get_json(f"{secure.url}/numpy")


# Records of environments


def recorded(content: Any) -> Path:
    """A record of an environment ``abc``, which has a Python."""
    python = records.python_of(records.path_of("abc"))
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    records.record_of("abc").write_text(json.dumps(content))
    return records.path_of("abc")


@pytest.mark.parametrize("content", [{"key": "abc", "format": 9}, [1, 2], {"key": "abc"}, 7, None])
@pytest.mark.parametrize("command", [["cache"], ["cache", "prune"], ["cache", "verify"]])
def test_a_record_that_another_version_wrote_is_no_trouble(
    content: Any, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recorded(content)
    assert main(command) == 0
    is_of_other = isinstance(content, dict) and "format" in content
    assert folder.is_dir() == (is_of_other or command != ["cache", "prune"])
    if is_of_other:  # passed over: it is no business of this version
        assert "abc" not in capsys.readouterr().out
        assert not [e for e in cache.entries() if e.path == folder]


# Many users


def as_user(number: int, code: str, **variables: str) -> subprocess.Popen[str]:
    """Start code as another user, who has no home folder and no entry in passwd."""
    command = ["setpriv", "--reuid", str(number), "--regid", str(number), "--clear-groups"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HOME", "MEDZOO_", "XDG_"))}
    environment = {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, sys.executable, "-c", code],
        env=environment,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        cwd="/",
    )


def can_be_others() -> bool:
    """Whether this user may start programs as others, who can read this checkout."""
    if sys.platform != "linux" or os.geteuid():
        return False
    try:
        other = as_user(23456, "import medzoo, yaml, platformdirs")
    except OSError:
        return False
    other.communicate()
    return not other.returncode


others = pytest.mark.skipif(not can_be_others(), reason="needs root, and a checkout that all read")


@others
def test_a_user_who_may_only_read_holds_what_is_used(tmp_path: Path) -> None:
    mark = tmp_path / "KEY.use"
    mark.touch(mode=0o644)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    code = (
        "import pathlib, sys\nfrom medzoo import files\n"
        f"held = files.hold(pathlib.Path({str(mark)!r}))\nprint('held', flush=True)\n"
        "sys.stdin.read()"
    )
    other = as_user(23456, code)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    folder = tmp_path / "KEY"
    folder.mkdir()
    assert not files.remove(folder, mark)
    other.communicate("")
    assert files.remove(folder, mark)


@others
@pytest.mark.parametrize("home", [None, ""])
def test_a_user_without_a_home_is_told_of_the_setting(home: str | None) -> None:
    variables = {} if home is None else {"HOME": home}
    other = as_user(23456, "from medzoo.cli import main; main(['cache'])", **variables)
    _, errors = other.communicate()
    assert "Traceback" not in errors
    if home is None:
        assert "MEDZOO_CACHE" in errors


def test_folders_have_the_mode_that_the_user_wants(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with files.folder_aside(tmp_path / "shared") as aside:
            (aside / "a").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o775


# Passwords


@pytest.mark.parametrize(
    ("variable", "command"),
    [("MEDZOO_ZENODO", ["install", "7"]), ("MEDZOO_REGISTRY", ["update"])],
)
def test_a_password_in_an_address_is_never_shown(
    variable: str,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, "http://alice:s3cretPW@127.0.0.1:9/r.zip")
    monkeypatch.setattr("medzoo.packages.http.policy.__class__.pause", 0.0)
    assert main(command)
    out, errors = capsys.readouterr()
    assert "***@127.0.0.1:9" in errors
    assert "s3cretPW" not in out + errors
    cached = [p for p in settings.cache_folder().rglob("*") if p.is_file()]
    assert not [p for p in cached if b"s3cretPW" in p.read_bytes() or "s3cretPW" in p.name]


def test_errors_hide_passwords_wherever_they_are_raised() -> None:
    error = SourceError("https://a:b@example.org/x is gone.", "Try https://c@example.org/?u=a@b.")
    assert str(error) == "https://***@example.org/x is gone.\nTry https://***@example.org/?u=a@b."


def test_no_home_is_an_error_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDZOO_CACHE")

    def none(*_: Any, **__: Any) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_cache_dir", none)
    with pytest.raises(InputError, match="no home folder"):
        settings.cache_folder()


# Revoked packages


def test_a_revoked_package_never_runs_again(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_registry_zip: Any
) -> None:
    import medzoo
    from medzoo.packages.store import package
    from medzoo.registry import resolve

    number = toy()
    config = resolve(number)
    digest = next(iter(package(config, config.default).digests.values()))
    monkeypatch.setenv("MEDZOO_REGISTRY", str(make_registry_zip(f"# why\n{digest}  it was bad\n")))
    medzoo.update()
    for _ in range(2):
        with pytest.raises(IntegrityError, match="was revoked: it was bad"):
            medzoo.generate(number, 1, trust=True, progress=False)
        medzoo.update(reset=True)
    monkeypatch.setenv("MEDZOO_REGISTRY", str(make_registry_zip("")))
    medzoo.update()
    with pytest.raises(IntegrityError, match="was revoked"):
        medzoo.load(number)


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_damaged_list_of_revoked_packages_is_refused(
    toy: Any, tmp_path: Path, content: str
) -> None:
    import medzoo

    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "revoked.json").write_text(content, encoding="utf-8")
    with pytest.raises(IntegrityError, match="the list of revoked packages, cannot be read"):
        medzoo.generate(toy(), 1, trust=True, progress=False)


@pytest.fixture
def make_registry_zip(tmp_path: Path) -> Any:
    """Make a zip as `medzoo update` takes it, with a list of revoked packages."""
    import zipfile

    def make(revoked: str) -> Path:
        path = tmp_path / f"registry-{len(revoked)}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            folder = ROOT / "model_configs"
            for file in [*folder.glob("*.yaml"), *(folder / "locks").glob("*.txt")]:
                archive.write(file, f"model_configs/{file.relative_to(folder)}")
            archive.writestr("model_configs/revoked.txt", revoked)
        return path

    return make


def test_http_errors_hide_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError) as caught:
        get_json("http://alice:s3cretPW@127.0.0.1:9/x")
    assert "s3cretPW" not in str(caught.value)


# A removal that is killed

REMOVES = """
import os, sys
from medzoo.scratch import Scratch
folder, left = Scratch(), [int(sys.argv[1])]
for name in "abc":
    (folder.path / name).mkdir()
    (folder.path / name / "file").touch()
    (folder.path / f"{name}.txt").touch()
def counted(step):
    def taken(*arguments, **options):
        left[0] -= 1
        return step(*arguments, **options) if left[0] >= 0 else os._exit(9)
    return taken
os.unlink, os.rmdir = map(counted, (os.unlink, os.rmdir))
folder.remove()
"""


@linux
def test_what_a_killed_removal_left_is_found(temporary: Path) -> None:
    for kill in range(11):
        command = [sys.executable, "-c", REMOVES, str(kill)]
        assert subprocess.run(command, check=False).returncode == 9
        if any(path.is_file() for path in temporary.rglob("*")):
            (left,) = scratch.abandoned()
            shutil.rmtree(left)
