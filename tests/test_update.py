"""A newer registry: what is taken of it, what is refused, and that what was in use stays when anything goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Zenodo, toy_config
from zenodo_server import File, drip, page, status, truncate, zipped

import medzoo
from medzoo import registry, settings
from medzoo.cli import main
from medzoo.errors import (
    ConfigError,
    InputError,
    IntegrityError,
    MedzooError,
    MedzooWarning,
    SourceError,
)
from medzoo.packages import update as renewal
from medzoo.registry import resolve

NEW, MASSES, CALC = "00905_GAN_MRI_NEW", "00008_C-DCGAN_MMG_MASSES", "00001_DCGAN_MMG_CALC_ROI"
SHIPPED = settings.shipped("model_configs")
REMOTE = {"source": "zenodo:7000001/package.zip", "files": None, "sha256": "0" * 64}


def config_of(identifier: str, **changes: Any) -> dict[str, Any]:
    return toy_config(**{**REMOTE, **changes}) | {"id": identifier}


def registry_zip(
    *configs: dict[str, Any], top: str = "medzoo-main/", more: dict[str, bytes] | None = None
) -> bytes:
    """A zip of the repository with these configs, and other files beside them."""
    inside = {
        f"{top}model_configs/{c['id']}.yaml": yaml.safe_dump(c, sort_keys=False).encode()
        for c in configs
    }
    return zipped({f"{top}README.md": b"# medzoo\n", **inside, **(more or {})})


def shipped(identifier: str) -> dict[str, Any]:
    content = yaml.safe_load((SHIPPED / f"{identifier}.yaml").read_text(encoding="utf-8"))
    for version in content["versions"].values():
        version.pop("lock", None)
    assert isinstance(content, dict)
    return content


def ids() -> list[str]:
    return [c.id for c in medzoo.list_models()]


@pytest.fixture
def zip_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Path]:
    """Name a zip on this disk as the registry."""

    def name(content: bytes) -> Path:
        path = tmp_path / "registry.zip"
        path.write_bytes(content)
        monkeypatch.setenv("MEDZOO_REGISTRY", str(path))
        return path

    return name


@pytest.fixture
def served(zenodo: Zenodo, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], str]:
    """Serve a zip as the registry."""

    def serve(content: bytes) -> str:
        zenodo.elsewhere["/main.zip"] = File(content)
        monkeypatch.setenv("MEDZOO_REGISTRY", f"{zenodo.url}/main.zip")
        return f"{zenodo.url}/main.zip"

    return serve


# ------------------------------------------------------------------------------------------------------ what is taken
def test_new_models_are_fetched_and_known_from_then_on(
    served: Callable[[bytes], str], zenodo: Zenodo
) -> None:
    before = ids()
    address = served(registry_zip(config_of(NEW)))
    zenodo.fault(status(503, retry_after=1), truncate(100), on="main.zip")
    done = medzoo.update()
    assert (done.address, done.models, done.versions, done.changed, done.removed) == (
        address,
        (NEW,),
        (),
        (),
        (),
    )
    assert [s.status for s in zenodo.seen("main.zip")] == [503, 200, 200]
    assert ids() == sorted([*before, NEW])  # what only the shipped registry has stays
    assert resolve(905).path.parent.name == done.sha256
    again = medzoo.update()
    assert (again.models, str(again).splitlines()[0]) == ((), "nothing new")


def test_a_new_version_and_a_changed_config_are_named(zip_file: Callable[[bytes], Path]) -> None:
    first, second = shipped(CALC), shipped("00002_DCGAN_MMG_MASS_ROI")
    first["versions"]["9.9"] = first["versions"]["0.0.1"] | {"sha256": "1" * 64}
    second["description"] = "Told anew."
    zip_file(registry_zip(first, second))
    done = medzoo.update()
    assert (done.versions, done.changed, done.models) == (
        (f"{CALC} 9.9",),
        ("00002_DCGAN_MMG_MASS_ROI",),
        (),
    )
    assert resolve(2).description == "Told anew."
    assert "9.9" in resolve(1).versions


def test_the_registry_of_this_repository_changes_nothing(zip_file: Callable[[bytes], Path]) -> None:
    paths = [*SHIPPED.glob("*.yaml"), *SHIPPED.glob("locks/*.txt")]
    zip_file(
        zipped(
            {f"x/model_configs/{p.relative_to(SHIPPED).as_posix()}": p.read_bytes() for p in paths}
        )
    )
    done = medzoo.update()
    assert (done.models, done.versions, done.changed, done.removed, done.left_out) == (
        (),
        (),
        (),
        (),
        (),
    )
    config = resolve(1)
    assert config.path.parent.name == done.sha256
    assert (config.path.parent / config.default.lock).read_bytes() == (
        SHIPPED / config.default.lock
    ).read_bytes()


def test_a_changed_lock_is_a_change(zip_file: Callable[[bytes], Path]) -> None:
    config = shipped(CALC)
    config["versions"]["0.0.1"]["lock"] = "locks/patches.txt"
    zip_file(
        registry_zip(config, more={"medzoo-main/model_configs/locks/patches.txt": b"# none\n"})
    )
    assert medzoo.update().changed == (CALC,)


def test_a_bundled_model_keeps_its_config_and_a_new_one_is_left_out(
    zip_file: Callable[[bytes], Path],
) -> None:
    masses = shipped(MASSES) | {"description": "Other bytes."}
    here = config_of("00906_GAN_MRI_HERE", source="bundled:00906_GAN_MRI_HERE")
    near = config_of("00907_GAN_MRI_NEAR", source="file:/etc")
    zip_file(registry_zip(masses, here, near, config_of(NEW)))
    done = medzoo.update()
    assert (done.models, done.changed) == ((NEW,), ())
    assert done.left_out == (here["id"], near["id"])
    assert (
        "left out     00906_GAN_MRI_HERE: it comes with a newer medzoo (pip install -U medzoo)"
        in str(done)
    )
    assert resolve(8).path.parent == SHIPPED
    assert not {here["id"], near["id"]} & set(ids())


def test_a_model_that_was_renamed_replaces_the_one_of_its_number(
    zip_file: Callable[[bytes], Path],
) -> None:
    zip_file(registry_zip(config_of("00001_DCGAN_MMG_RENAMED")))
    done = medzoo.update()
    assert (done.models, done.removed) == (("00001_DCGAN_MMG_RENAMED",), (CALC,))


@pytest.mark.parametrize("top", ["", "medzoo-main/", "medzoo/"])
def test_the_folder_lies_at_the_top_or_one_below(
    top: str, zip_file: Callable[[bytes], Path]
) -> None:
    zip_file(registry_zip(config_of(NEW), top=top))
    assert medzoo.update().models == (NEW,)


def test_configs_and_locks_alone_are_taken(zip_file: Callable[[bytes], Path]) -> None:
    more = {
        f"medzoo-main/{n}": b"x"
        for n in ("model_configs/run.py", "model_configs/locks/a.sh", "setup.py")
    }
    zip_file(registry_zip(config_of(NEW), more=more))
    medzoo.update()
    folder = resolve(NEW).path.parent
    assert [p.name for p in folder.rglob("*") if p.is_file()] == [f"{NEW}.yaml"]


# ---------------------------------------------------------------------------------------------------- what is refused
BROKEN = {
    "yaml": (
        registry_zip(config_of(NEW), more={"medzoo-main/model_configs/00906_A_B.yaml": b"id: [\n"}),
        ConfigError,
        r"model_configs.00906_A_B.yaml cannot be read as YAML",
    ),
    "schema": (
        registry_zip(config_of(NEW) | {"tomorrow": 1}),
        ConfigError,
        r"(?s)unknown key 'tomorrow'.*pip install -U medzoo",
    ),
    "name": (
        zipped({"model_configs/00906_A_B.yaml": yaml.safe_dump(config_of(NEW)).encode()}),
        ConfigError,
        rf"holds the model {NEW}",
    ),
    "number": (
        registry_zip(config_of(NEW), config_of("00905_GAN_CT_NEW")),
        ConfigError,
        r"share the number 905",
    ),
    "lock": (
        registry_zip(config_of(NEW, lock="locks/gone.txt")),
        ConfigError,
        r"there is no locks/gone.txt, which version 1.0.0",
    ),
    "other lock": (
        registry_zip(config_of(NEW, lock="../../digests.json")),
        ConfigError,
        r"there is no ../../digests.json",
    ),
    "outside": (
        registry_zip(config_of(NEW), more={"../evil.yaml": b""}),
        IntegrityError,
        r"'../evil.yaml' points outside",
    ),
    "no zip": (b"PK, but not quite", IntegrityError, r"it is broken"),
    "cut": (registry_zip(config_of(NEW))[:-30], IntegrityError, r"it is broken"),
    "nothing": (
        zipped({"a/README.md": b""}),
        SourceError,
        r"holds no folders model_configs with configs",
    ),
    "two": (
        registry_zip(config_of(NEW), more={"b/model_configs/x.yaml": b""}),
        SourceError,
        r"holds 2 folders",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("updated", [False, True])
def test_what_is_wrong_is_refused_and_what_was_in_use_stays(
    case: str, updated: bool, zip_file: Callable[[bytes], Path], tmp_path: Path
) -> None:
    if updated:
        zip_file(registry_zip(config_of("00908_GAN_MRI_FIRST")))
        medzoo.update()
    before = medzoo.list_models()
    content, kind, message = BROKEN[case]
    zip_file(content)
    with pytest.raises(kind, match=message) as caught:
        medzoo.update()
    assert "Nothing was changed" in str(caught.value)
    assert str(tmp_path / "cache") not in str(caught.value)
    assert medzoo.list_models() == before
    assert (
        len(list((tmp_path / "cache" / "registry").glob("*"))) == 2 * updated
    )  # the folder and its pointer
    assert not (tmp_path / "evil.yaml").exists()


@pytest.mark.parametrize(
    "fault", [page("Please log in"), status(404), status(503)], ids=["page", "404", "503"]
)
def test_a_server_without_the_registry_changes_nothing(
    fault: Any, served: Callable[[bytes], str], zenodo: Zenodo
) -> None:
    before, _ = ids(), served(registry_zip(config_of(NEW)))
    zenodo.fault(*[fault] * 20, on="main.zip")
    with pytest.raises(
        SourceError, match=r"(?s)could not be fetched.*Please log in|404|503.*MEDZOO_REGISTRY"
    ):
        medzoo.update()
    assert ids() == before


def test_a_zip_that_is_too_large_is_not_taken(
    served: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = registry_zip(config_of(NEW))
    served(content)
    monkeypatch.setattr(renewal, "MOST", len(content) - 1)
    with pytest.raises(
        IntegrityError, match=f"{len(content):,} bytes, but at most {len(content) - 1:,}"
    ):
        medzoo.update()


@pytest.mark.parametrize(
    ("address", "kind", "message"),
    [
        ("http://example.org/main.zip", InputError, "is not secure"),
        ("https://example.org/main.zip", SourceError, "MEDZOO_OFFLINE is set"),
        ("/nowhere/main.zip", SourceError, "There is no registry at /nowhere/main.zip"),
    ],
)
def test_addresses_that_are_not_asked(
    address: str, kind: type[MedzooError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")
    monkeypatch.setenv("MEDZOO_REGISTRY", address)
    with pytest.raises(kind, match=message):
        medzoo.update()


def test_a_zip_on_this_disk_needs_no_network(
    zip_file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zip_file(registry_zip(config_of(NEW)))
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")
    assert medzoo.update().models == (NEW,)
    monkeypatch.setenv("MEDZOO_REGISTRY", f"file:{path}")
    assert medzoo.update().models == ()


def test_a_cache_that_cannot_be_written_is_said(
    zip_file: Callable[[bytes], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zip_file(registry_zip(config_of(NEW)))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(SourceError, match=r"could not be put into .*Not a directory|File exists"):
        medzoo.update()
    assert ids()


def test_a_number_that_the_user_has_taken_is_no_free_one(
    zip_file: Callable[[bytes], Path], toy: Callable[..., int]
) -> None:
    toy()
    zip_file(registry_zip(config_of("00901_GAN_MRI_THEIRS")))
    with pytest.raises(ConfigError, match="share the number 901"):
        medzoo.update()
    assert resolve(901).name == "Toy"


# --------------------------------------------------------------------------------------- what goes wrong with it later
def damage(how: str) -> None:
    folder = resolve(NEW).path.parent
    if how == "config gone":
        (folder / f"{NEW}.yaml").unlink()
    elif how == "folder gone":
        folder.rename(folder.with_name("moved"))
    elif how == "changed":
        path = folder / f"{NEW}.yaml"
        path.write_text(path.read_text().replace("0" * 64, "1" * 64))
    elif how == "lock changed":
        (folder / "locks" / "a.txt").write_text("numpy==1.0\n")
    elif how == "pointer":
        registry.pointer().write_text("{")
    elif how == "empty pointer":
        registry.pointer().write_text("[]")
    else:
        about = json.loads(registry.pointer().read_text())
        registry.pointer().write_text(json.dumps(about | {"medzoo": "0.0.1"}))
    registry.lookup._registry.cache_clear()


DAMAGES = [
    "config gone",
    "folder gone",
    "changed",
    "lock changed",
    "pointer",
    "empty pointer",
    "other medzoo",
]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_update_falls_back_with_one_warning_and_is_repaired(
    how: str, zip_file: Callable[[bytes], Path]
) -> None:
    before = ids()
    zip_file(
        registry_zip(
            config_of(NEW, lock="locks/a.txt"),
            more={"medzoo-main/model_configs/locks/a.txt": b"# none\n"},
        )
    )
    medzoo.update()
    damage(how)
    with pytest.warns(
        MedzooWarning,
        match=r"(?s)updated registry.*came with medzoo is used.*`medzoo update --reset`",
    ) as told:
        assert ids() == before
    assert len(told) == 1
    assert ids() == before  # and not a word more
    medzoo.update()
    assert ids() == sorted([*before, NEW])


def test_an_update_that_breaks_only_beside_the_users_own_falls_back(
    zip_file: Callable[[bytes], Path], toy: Callable[..., int]
) -> None:
    zip_file(registry_zip(config_of("00901_GAN_MRI_THEIRS")))
    medzoo.update()
    toy()
    with pytest.warns(MedzooWarning, match="share the number 901"):
        assert resolve(901).name == "Toy"


def test_a_fault_of_the_users_own_is_no_fault_of_the_update(
    zip_file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    zip_file(registry_zip(config_of(NEW)))
    medzoo.update()
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", "/nowhere")
    with pytest.raises(ConfigError, match="no folder of model configs at"):
        ids()


def test_reset_goes_back_and_leaves_nothing(
    zip_file: Callable[[bytes], Path], tmp_path: Path
) -> None:
    before = ids()
    zip_file(registry_zip(config_of(NEW)))
    medzoo.update()
    damage("pointer")
    medzoo.update()
    done = medzoo.update(reset=True)
    assert (done.removed, done.sha256, ids()) == ((NEW,), "", before)
    assert not list((tmp_path / "cache" / "registry").iterdir())
    assert medzoo.update(reset=True).removed == ()


def test_the_one_in_use_before_stays_for_those_who_still_read_it(
    zip_file: Callable[[bytes], Path],
) -> None:
    made = []
    for k in range(3):
        zip_file(registry_zip(config_of(NEW) | {"name": f"The {k}th"}))
        made.append(medzoo.update().sha256)
        assert resolve(NEW).name == f"The {k}th"
    kept = {p.name for p in registry.pointer().parent.iterdir() if p.is_dir()}
    assert kept == set(made[1:])


# ------------------------------------------------------------------------------------------------- killed, two at once
KILLER = """
import os, signal, sys, warnings
import medzoo
from medzoo import registry
from medzoo.packages import update as renewal
from medzoo.packages import http
import zipfile, tempfile, filelock, difflib
warnings.simplefilter("error")
folder = str(registry.pointer().parent)
before, last, seen = medzoo.list_models(), 0, set()
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}

def audit(event, arguments):
    global last
    if armed and event in EVENTS and any(isinstance(a, (str, os.PathLike)) and folder in os.fspath(a) for a in arguments):
        last -= 1
        if not last:
            os.kill(os.getpid(), signal.SIGKILL)

armed, kills = False, 0
sys.addaudithook(audit)
while True:
    last = kills + 1
    pid = os.fork()
    if not pid:
        armed = True
        medzoo.update()
        os._exit(0)
    if not os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        break
    kills += 1
    registry.lookup._registry.cache_clear()
    now = medzoo.list_models()  # a warning would be an error
    seen.add(len(now) - len(before))
    medzoo.update(reset=True)
registry.lookup._registry.cache_clear()
medzoo.update()
left = [n for n in os.listdir(folder) if n.startswith(".")]
print(kills, sorted(seen), len(medzoo.list_models()) - len(before), left)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_an_update_that_is_killed_at_any_instant_is_there_whole_or_not_at_all(
    zip_file: Callable[[bytes], Path],
) -> None:
    zip_file(registry_zip(config_of(NEW), config_of("00906_GAN_MRI_TOO")))
    done = subprocess.run(
        [sys.executable, "-c", KILLER], check=False, capture_output=True, text=True, timeout=300
    )
    kills, _, rest = done.stdout.partition(" ")
    assert rest.strip() == "[0, 2] 2 []", done.stderr
    assert int(kills) > 10


def start() -> subprocess.Popen[str]:
    code = "import medzoo; print(medzoo.update().sha256)"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_while_it_downloads_it_leaves_what_was_in_use(
    served: Callable[[bytes], str], zenodo: Zenodo, tmp_path: Path
) -> None:
    before, _ = ids(), served(registry_zip(config_of(NEW)))
    zenodo.fault(drip(1, 0.05), on="main.zip")
    child = start()
    deadline = time.monotonic() + 60
    while (
        not list((tmp_path / "cache" / "registry").glob(".*/*.part"))
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode != 0
    assert ids() == before
    medzoo.update()
    assert ids() == sorted([*before, NEW])
    assert not [p.name for p in registry.pointer().parent.iterdir() if p.name.startswith(".")]


def test_several_at_once_all_end_well(served: Callable[[bytes], str], zenodo: Zenodo) -> None:
    served(registry_zip(config_of(NEW)))
    zenodo.fault(drip(64, 0.01), drip(64, 0.01), on="main.zip")
    children = [start() for _ in range(3)]
    told = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], told
    assert len({out for out, _ in told}) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve(NEW).path.parent.name == told[0][0].strip()


# -------------------------------------------------------------------------------------------------------- command line
def test_the_command_says_what_is_new(
    zip_file: Callable[[bytes], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = zip_file(registry_zip(config_of(NEW)))
    assert main(["update"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"new model    {NEW}"
    assert main(["update", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["address"], told["models"], len(told["sha256"])) == (str(path), [], 64)
    assert main(["info", NEW]) == 0
    assert main(["update", "--reset"]) == 0
    assert f"removed      {NEW}" in capsys.readouterr().out
    assert main(["info", NEW]) == 3
    zip_file(b"no zip")
    assert main(["update"]) == IntegrityError.exit_code


def test_the_command_warns_of_a_damaged_update_once(
    zip_file: Callable[[bytes], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    zip_file(registry_zip(config_of(NEW)))
    medzoo.update()
    damage("changed")
    assert main(["list"]) == 0
    assert capsys.readouterr().err.count("medzoo: warning: The updated registry is damaged") == 1


def test_without_an_update_one_look_is_all_it_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    look = Path.stat

    def stat(self: Path, **how: bool) -> os.stat_result:
        asked.append(self)
        return look(self, **how)

    registry.lookup._registry.cache_clear()
    monkeypatch.setattr(Path, "stat", stat)
    assert ids()
    assert [p for p in asked if (tmp_path / "cache") in p.parents] == [registry.pointer()]
    assert not (tmp_path / "cache").exists()
