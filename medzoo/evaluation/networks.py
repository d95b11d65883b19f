"""Networks with published weights, as features: ResNet50 of RadImageNet, and Inception of FID.

A network takes pictures (N, 3, H, W) in [-1, 1] and returns (N, 2048). The names of its layers are
those of the published files, and a file must fill it exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from .. import checks, files
from ..errors import InputError
from ..packages import weights as published

INCEPTION_SIDE = 299
COUNTER = ".num_batches_tracked"  # of batch normalisation; older files do not hold it


# ------------------------------------------------------------------------- ResNet50 of RadImageNet
class Bottleneck(nn.Module):
    """Three convolutions beside a short cut. As in Keras, the first one takes the stride."""

    def __init__(self, channels: int, width: int, stride: int, *, is_first: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, stride)
        self.bn1 = _norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = _norm(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1)
        self.bn3 = _norm(4 * width)
        self.downsample: nn.Module = nn.Identity()
        if is_first:
            short = nn.Conv2d(channels, 4 * width, 1, stride)
            self.downsample = nn.Sequential(short, _norm(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        """Of ``4 * width`` channels."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1.001e-5)  # Keras's number


class RadImageNet(nn.Module):
    """ResNet50 with biases, as Keras builds it, without its last layer.

    It gets blue, green and red in [0, 1] less the mean of ImageNet, as in MONAI's perceptual loss.
    """

    BLOCKS = ((64, 3), (128, 4), (256, 6), (512, 3))  # width, number
    MEAN = (0.406, 0.456, 0.485)  # of blue, green and red

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, padding=3), _norm(64)
        channels = 64
        for number, (width, count) in enumerate(self.BLOCKS, start=1):
            stride = 1 if number == 1 else 2
            blocks = [Bottleneck(channels, width, stride, is_first=True)]
            channels = 4 * width
            for _ in range(count - 1):
                blocks.append(Bottleneck(channels, width, 1, is_first=False))
            self.add_module(f"layer{number}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        """The mean over the last feature map, (N, 2048)."""
        x = (x.flip(1) + 1) / 2 - x.new_tensor(self.MEAN)[:, None, None]
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean((2, 3))


# ------------------------------------------------------------------------------- Inception of FID
class Convolution(nn.Module):
    """A convolution, batch normalisation and a rectifier."""

    def __init__(
        self, i: int, o: int, kernel: int | tuple[int, int], stride: int = 1, *, padded: bool = True
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(i, o, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(o, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """The next feature map."""
        return F.relu(self.bn(self.conv(x)))


def _averaged(x: Tensor) -> Tensor:
    """Means of 3x3, which do not count what lies outside the picture, as in TensorFlow."""
    return F.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)


def _largest(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 1, padding=1)


class Branches(nn.Module):
    """Several ways through a block; each is a list of steps, whose layers have names.

    A step is the name of a layer, or the names of two layers side by side.
    """

    WAYS: tuple[tuple[str | tuple[str, str], ...], ...] = ()

    def _through(self, way: tuple[str | tuple[str, str], ...], x: Tensor) -> Tensor:
        for step in way:
            if isinstance(step, str):
                x = self.get_submodule(step)(x)
            else:
                x = torch.cat([self.get_submodule(name)(x) for name in step], 1)
        return x


class Mixed5(Branches):
    """A block of 35x35."""

    WAYS = (
        ("branch1x1",),
        ("branch5x5_1", "branch5x5_2"),
        ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    )

    def __init__(self, i: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(i, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = Convolution(i, 48, 1), Convolution(48, 64, 5)
        self.branch3x3dbl_1 = Convolution(i, 64, 1)
        self.branch3x3dbl_2, self.branch3x3dbl_3 = Convolution(64, 96, 3), Convolution(96, 96, 3)
        self.branch_pool = Convolution(i, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """All branches, one behind the other."""
        ways = [self._through(way, x) for way in self.WAYS]
        return torch.cat([*ways, self.branch_pool(_averaged(x))], 1)


class Mixed6a(Branches):
    """From 35x35 to 17x17."""

    WAYS = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))

    def __init__(self, i: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(i, 384, 3, 2, padded=False)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Convolution(i, 64, 1), Convolution(64, 96, 3)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, 2, padded=False)

    def forward(self, x: Tensor) -> Tensor:
        """All branches, one behind the other."""
        ways = [self._through(way, x) for way in self.WAYS]
        return torch.cat([*ways, F.max_pool2d(x, 3, 2)], 1)


class Mixed6(Branches):
    """A block of 17x17."""

    WAYS = (
        ("branch1x1",),
        ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
        (
            "branch7x7dbl_1",
            "branch7x7dbl_2",
            "branch7x7dbl_3",
            "branch7x7dbl_4",
            "branch7x7dbl_5",
        ),
    )

    def __init__(self, i: int, w: int) -> None:
        super().__init__()
        across, down = (1, 7), (7, 1)
        self.branch1x1 = Convolution(i, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = Convolution(i, w, 1), Convolution(w, w, across)
        self.branch7x7_3 = Convolution(w, 192, down)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Convolution(i, w, 1), Convolution(w, w, down)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = (
            Convolution(w, w, across),
            Convolution(w, w, down),
        )
        self.branch7x7dbl_5 = Convolution(w, 192, across)
        self.branch_pool = Convolution(i, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """All branches, one behind the other."""
        ways = [self._through(way, x) for way in self.WAYS]
        return torch.cat([*ways, self.branch_pool(_averaged(x))], 1)


class Mixed7a(Branches):
    """From 17x17 to 8x8."""

    WAYS = (
        ("branch3x3_1", "branch3x3_2"),
        ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"),
    )

    def __init__(self, i: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(i, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, 2, padded=False)
        self.branch7x7x3_1 = Convolution(i, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1))
        self.branch7x7x3_4 = Convolution(192, 192, 3, 2, padded=False)

    def forward(self, x: Tensor) -> Tensor:
        """All branches, one behind the other."""
        ways = [self._through(way, x) for way in self.WAYS]
        return torch.cat([*ways, F.max_pool2d(x, 3, 2)], 1)


class Mixed7(Branches):
    """A block of 8x8. The last one of FID's network pools the largest values, not the means."""

    WAYS = (
        ("branch1x1",),
        ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
        ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")),
    )

    def __init__(self, i: int, *, is_last: bool) -> None:
        super().__init__()
        self.is_last = is_last
        across, down = (1, 3), (3, 1)
        self.branch1x1, self.branch3x3_1 = Convolution(i, 320, 1), Convolution(i, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, across)
        self.branch3x3_2b = Convolution(384, 384, down)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = (
            Convolution(i, 448, 1),
            Convolution(448, 384, 3),
        )
        self.branch3x3dbl_3a = Convolution(384, 384, across)
        self.branch3x3dbl_3b = Convolution(384, 384, down)
        self.branch_pool = Convolution(i, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """All branches, one behind the other."""
        ways = [self._through(way, x) for way in self.WAYS]
        pooled = _largest(x) if self.is_last else _averaged(x)
        return torch.cat([*ways, self.branch_pool(pooled)], 1)


class Inception(nn.Module):
    """Inception v3 as TensorFlow published it in 2015, which Frechet distances of papers use.

    Pictures are brought to 299x299, bilinearly.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2, padded=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, padded=False)
        self.Mixed_5b, self.Mixed_5c = Mixed5(192, 32), Mixed5(256, 64)
        self.Mixed_5d = Mixed5(288, 64)
        self.Mixed_6a, self.Mixed_6b = Mixed6a(288), Mixed6(768, 128)
        self.Mixed_6c, self.Mixed_6d = Mixed6(768, 160), Mixed6(768, 160)
        self.Mixed_6e = Mixed6(768, 192)
        self.Mixed_7a, self.Mixed_7b = Mixed7a(768), Mixed7(1280, is_last=False)
        self.Mixed_7c = Mixed7(2048, is_last=True)
        self.fc = nn.Linear(2048, 1008)  # in the file, and not used

    def forward(self, x: Tensor) -> Tensor:
        """The mean over the last feature map, (N, 2048)."""
        size = INCEPTION_SIDE, INCEPTION_SIDE
        x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = self.get_submodule(f"Mixed_{name}")(x)
        return x.mean((2, 3))


NETWORKS: dict[str, type[nn.Module]] = {"radimagenet": RadImageNet, "inception": Inception}


# ----------------------------------------------------------------------------------------- loading
def network(name: str) -> nn.Module:
    """A network with its weights: one that is published, or that of a file on this machine.

    Parameters
    ----------
    name : str
        ``radimagenet`` or ``inception``, which are downloaded at the first use, or the path of a
        file with the tensors of one of them (``.pth``, ``.pt`` or ``.safetensors``).

    Raises
    ------
    InputError
        There is no such network or file, or the file does not hold exactly its tensors.
    SourceError
        The weights cannot be downloaded.
    IntegrityError
        The downloaded file differs from its digest.
    """
    if name in NETWORKS:
        with published.using(name):
            return _filled(NETWORKS[name](), _tensors(published.fetch(name)), name)
    path = Path(name).expanduser()
    if not path.is_file():
        raise InputError(
            f"features={checks.shown(name)} is neither a network nor a file.",
            f"{checks.meant(name, NETWORKS)}Give {' or '.join(NETWORKS)}, the path of a file of "
            "weights, or a torch.nn.Module.",
        )
    tensors = _tensors(path)
    for kind in NETWORKS.values():
        module = kind()
        if _layers(module.state_dict()) & _layers(tensors):
            return _filled(module, tensors, path.name)
    raise InputError(
        f"{path.name} holds the weights of no network that medzoo knows.",
        f"It knows {' and '.join(NETWORKS)}. Give your own network as a torch.nn.Module.",
    )


def _layers(tensors: Mapping[str, Tensor]) -> set[str]:
    """The names of the layers that only one of the networks has."""
    first = {name.partition(".")[0] for name in tensors}
    return first & {"layer1", "layer4", "Mixed_5b", "Mixed_7c"}


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by their names. Nothing of it is run."""
    if disguise := files.disguise(path):
        raise InputError(f"{path} is {disguise}.", "Give the file of weights itself.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{path.name} cannot be read as tensors: {reason:.200}",
            "medzoo reads no pickled objects here. Save `module.state_dict()`.",
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(map(torch.is_tensor, content.values())):
        raise InputError(
            f"{path.name} does not hold the tensors of one network.",
            "Save `module.state_dict()`.",
        )
    return content


def _filled(module: nn.Module, tensors: Mapping[str, Tensor], name: str) -> nn.Module:
    """A network with all its tensors from a file, and all of the file in it."""
    wrong, own = [], module.state_dict()
    for key in sorted(own.keys() | tensors.keys()):
        if key.endswith(COUNTER) and key not in tensors:
            continue
        has = tuple(tensors[key].shape) if key in tensors else "nothing"
        wants = tuple(own[key].shape) if key in own else "nothing"
        if has != wants:
            wrong.append(f"{key}: {has}, not {wants}")
    if wrong:
        lines = "".join(f"\n  {line}" for line in wrong[:5])
        raise InputError(
            f"{name} has {len(wrong)} tensors that do not fit {type(module).__name__}:{lines}",
            "Layers without their weights would be random. Is it the file of another network?",
        )
    module.load_state_dict(dict(tensors), strict=False)
    return module.requires_grad_(False).eval()


class Coloured(nn.Module):
    """A network for three channels, which also takes grey pictures."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1 or 3, H, W) to (N, 2048)."""
        if x.ndim != 4 or x.shape[1] not in {1, 3}:
            raise InputError(
                f"These features need flat pictures of 1 or 3 channels, not {tuple(x.shape[1:])}.",
                "Leave `features` out, or give a torch.nn.Module for your pictures.",
            )
        result: Tensor = self.inner(x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x)
        return result
