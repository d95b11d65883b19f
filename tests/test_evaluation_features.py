"""Networks as features: weights through the verified store, files of weights, what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Zenodo
from judging import REAL, blobs, judged
from safetensors.torch import save_file
from zenodo_server import File, truncate

import medzoo
from medzoo.cli import main
from medzoo.errors import InputError, IntegrityError, SourceError
from medzoo.evaluation.distances import frechet
from medzoo.evaluation.networks import NETWORKS, Inception, RadImageNet, network
from medzoo.packages import cache, http, weights

pytestmark = pytest.mark.filterwarnings("ignore::medzoo.errors.MedzooWarning")
HUB = "huggingface.co/MONAI/checkpoints/resolve/main/RadImageNet-ResNet50_notop.pth"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Random weights with the names and shapes of the published file."""
    torch.manual_seed(0)
    return RadImageNet().state_dict()


@pytest.fixture(scope="module")
def content(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.save(state, path)
    return path.read_bytes()


@pytest.fixture
def published(content: bytes, zenodo: Zenodo, monkeypatch: pytest.MonkeyPatch) -> Zenodo:
    """A mirror on this machine that has the weights; their digest is the registered one."""
    digest = hashlib.sha256(content).hexdigest()
    known = weights.WEIGHTS["radimagenet"]
    mine = dataclasses.replace(known, sha256=digest, size=len(content))
    monkeypatch.setitem(weights.WEIGHTS, "radimagenet", mine)
    zenodo.elsewhere[f"/m/{HUB}"] = File(content)
    patient = dataclasses.replace(http.policy, stall=30)  # a busy machine takes 94 MB slowly
    monkeypatch.setattr(http, "policy", patient)
    monkeypatch.setenv("MEDZOO_MIRROR", f"{zenodo.url}/m")
    return zenodo


# ------------------------------------------------------------------------------------- the store
def test_weights_are_downloaded_once_and_then_need_no_network(
    published: Zenodo, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = judged(blobs(30, 2), features="radimagenet", metrics=["fd", "copy"])
    assert first.facts["features"] == "radimagenet"
    assert [seen.path for seen in published.log] == [f"/m/{HUB}"]
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")

    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    again = judged(blobs(30, 2), features="radimagenet", metrics=["fd", "copy"])
    assert again["fd"].value == first["fd"].value
    net = RadImageNet()
    net.load_state_dict(state)
    own = judged(blobs(30, 2), features=Grey(net), metrics=["fd"])
    assert own["fd"].value == pytest.approx(first["fd"].value)


class Grey(torch.nn.Module):
    """Repeats the channel of grey pictures."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.net(x.repeat(1, 3, 1, 1))
        return result


def test_a_download_of_weights_continues_after_the_connection_broke(published: Zenodo) -> None:
    published.fault(truncate(1_000_000), on=f"/m/{HUB}")
    assert weights.fetch("radimagenet").is_file()
    assert [seen.status for seen in published.log] == [200, 206]


def test_other_bytes_are_refused_and_the_error_names_both_digests(
    published: Zenodo, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.elsewhere[f"/m/{HUB}"] = File(b"x" * len(content))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # the source itself is out of reach
    with pytest.raises((IntegrityError, SourceError)) as caught:
        network("radimagenet")
    assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert hashlib.sha256(b"x" * len(content)).hexdigest() in str(caught.value)


def test_offline_without_the_weights_says_where_to_put_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", images=blobs(30, 2)["images"])
    np.savez(tmp_path / "real.npz", images=REAL["images"])
    files = [str(tmp_path / "a.npz"), "--real", str(tmp_path / "real.npz")]
    code = main(["evaluate", *files, "--features", "inception", "--offline"])
    printed = capsys.readouterr().err
    assert code == SourceError("").exit_code
    assert "pt_inception-2015-12-05-6726825d.pth" in printed
    assert "sha256:6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2" in printed
    assert "MEDZOO_MIRROR" in printed
    assert "cache export" not in printed


def test_the_cache_lists_keeps_and_removes_weights(published: Zenodo) -> None:
    path = weights.fetch("radimagenet")
    entries = {entry.models: entry for entry in cache.entries()}
    assert entries[("network-radimagenet",)].path == path.parent
    assert not cache.prune().removed
    assert [entry.path for entry in cache.verify().right] == [path.parent]
    path.write_bytes(b"changed")
    assert cache.verify().wrong
    assert cache.remove("network-radimagenet").removed
    assert not path.exists()


# --------------------------------------------------------------------------------------- a file
@pytest.mark.parametrize("form", ["net.pth", "net.safetensors", "checkpoint.pt"])
def test_a_file_of_weights_is_recognised_by_its_layers(
    tmp_path: Path, state: dict[str, torch.Tensor], form: str
) -> None:
    path = tmp_path / form
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state} if "checkpoint" in form else state, path)
    net = network(str(path))
    assert isinstance(net, RadImageNet)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, state[name])
    found = judged(blobs(20, 2), features=path, metrics=["kd"])
    assert found.facts["features"] == str(path)


def test_inception_takes_its_published_names_without_counters(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {k: v for k, v in Inception().state_dict().items() if "num_batches" not in k}
    assert len(state) == 472
    assert state["fc.weight"].shape == (1008, 2048)
    torch.save(state, tmp_path / "inception.pth")
    net = network(str(tmp_path / "inception.pth"))
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 2048)


def wrong_keys(state: dict[str, torch.Tensor], change: str) -> dict[str, torch.Tensor]:
    changed = dict(state)
    if change == "without a bias":
        del changed["layer2.0.conv1.bias"]
    elif change == "one layer more":
        changed["fc.weight"] = torch.zeros(10, 2048)
    elif change == "other shape":
        changed["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    else:
        changed = {f"backbone.{name}": tensor for name, tensor in state.items()}
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("without a bias", r"layer2.0.conv1.bias: nothing, not \(128,\)"),
        ("one layer more", r"fc.weight: \(10, 2048\), not nothing"),
        ("other shape", r"conv1.weight: \(64, 1, 7, 7\), not \(64, 3, 7, 7\)"),
        ("other names", "holds the weights of no network that medzoo knows"),
    ],
)
def test_a_file_that_does_not_fill_the_network_is_refused(
    tmp_path: Path, state: dict[str, torch.Tensor], change: str, message: str
) -> None:
    torch.save(wrong_keys(state, change), tmp_path / "net.pth")
    with pytest.raises(InputError, match=message):
        network(str(tmp_path / "net.pth"))


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_file_of_weights_runs_nothing(tmp_path: Path) -> None:
    torch.save({"layer1": Trap(tmp_path / "ran")}, tmp_path / "net.pth")
    with pytest.raises(InputError, match="cannot be read as tensors"):
        network(str(tmp_path / "net.pth"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"<!DOCTYPE html><html>Virus scan warning</html>", "web page"),
        (b"not weights", "cannot be read as tensors"),
    ],
)
def test_files_that_are_no_weights_are_refused(
    tmp_path: Path, written: bytes, message: str
) -> None:
    (tmp_path / "net.pth").write_bytes(written)
    with pytest.raises(InputError, match=message):
        network(str(tmp_path / "net.pth"))


def test_unknown_names_and_volumes_are_refused(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(InputError, match=r"(?s)neither a network nor a file.*'radimagenet'"):
        judged(blobs(20, 2), features="radimagnet")
    torch.save(state, tmp_path / "net.pth")
    volumes = {"images": np.random.default_rng(0).integers(0, 255, (60, 1, 8, 8, 8), np.uint8)}
    with pytest.raises(InputError, match=r"flat pictures of 1 or 3 channels, not \(1, 8, 8, 8\)"):
        medzoo.evaluate(volumes, {"images": volumes["images"][::-1]}, features=tmp_path / "net.pth")


# ------------------------------------------------------------------------------------- distances
def reference(a: np.ndarray, b: np.ndarray) -> float:
    """The Frechet distance by scipy's root of a matrix."""
    from scipy.linalg import sqrtm

    one, other = np.cov(a.T), np.cov(b.T)
    eye = 1e-9 * np.eye(len(one))  # the root of a singular matrix is not unique
    root = sqrtm((one + eye) @ (other + eye)).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + other - 2 * root))


@pytest.mark.parametrize("count", [12, 20, 40])
def test_frechet_distance_of_few_points_is_that_of_their_gaussians(count: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (count, 24)), rng.normal(0.3, 1.5, (30, 24))
    found = frechet(torch.from_numpy(a), torch.from_numpy(b))
    assert found == pytest.approx(reference(a, b), rel=1e-3)
    assert frechet(torch.from_numpy(a), torch.from_numpy(a)) == pytest.approx(0, abs=1e-4)


def test_each_network_has_registered_weights() -> None:
    assert set(NETWORKS) == set(weights.WEIGHTS)
    for known in weights.WEIGHTS.values():
        assert known.source.startswith("https://")
        assert len(known.sha256) == 64
        assert 90e6 < known.size < 100e6
        assert known.license
