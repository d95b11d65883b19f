"""The networks of a MONAI bundle, each loaded once, and compared with its file of weights.

A bundle may leave layers at random values in silence: its workflow loads weights as a side effect
of something else, or its loader accepts incomplete files. So each network is filled with values
that no training gives, then loaded, and nothing of them may be left.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from ..errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def load_networks(
    root: Path,
    networks: dict[str, dict[str, str]],
    resolve: Callable[[str], Any],
    fix: Callable[[str, Any], None],
) -> None:
    """Load each network, and fix its reference, so that it is not made again.

    Parameters
    ----------
    root
        The bundle.
    networks
        File of weights -> ``reference`` of its network, and of what ``load``s it; medzoo loads the
        file if that is empty.
    resolve, fix
        Resolve a reference of the workflow, and set it.

    Raises
    ------
    PackageError
        A file does not hold exactly the tensors of its network.
    """
    for network in networks.values():
        fix(network["reference"], resolve(network["reference"]))
    for file, network in networks.items():
        module, torch = resolve(network["reference"]), sys.modules["torch"]
        if not isinstance(module, torch.nn.Module):
            kind = type(module).__name__
            raise PackageError(f"{network['reference']} of its workflow is not a network: {kind}.")
        state = _state(file, torch.load(str(root / file), map_location="cpu"))
        _mark(module)
        if network["load"]:
            resolve(network["load"])
            fix(network["load"], None)
        else:
            _load(file, module, state)
        _require_complete(file, module, state)


def _state(file: str, content: Any) -> dict[str, Any]:
    """The tensors of a file, by their names."""
    torch = sys.modules["torch"]
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(map(torch.is_tensor, content.values())):
        raise PackageError(f"{file} does not hold the tensors of one network.")
    return content


def _load(file: str, module: Any, state: dict[str, Any]) -> None:
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    theirs = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = []
    for name in sorted(own.keys() | theirs.keys()):
        if own.get(name) != theirs.get(name):
            has, wants = theirs.get(name, "missing"), own.get(name, "not expected at all")
            wrong.append(f"{name}: {has}, not {wants}" if name in own else f"{name}: {wants}")
    if wrong:
        lines = "".join(f"\n  {line}" for line in wrong[:5])
        raise PackageError(f"{file} has {len(wrong)} tensors that do not fit the network:{lines}")
    module.load_state_dict(state)


def _mark(module: Any) -> None:
    """Fill a network with values that no training gives."""
    torch = sys.modules["torch"]
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.dtype.is_floating_point:
                tensor.fill_(math.nan)


def _require_complete(file: str, module: Any, state: dict[str, Any]) -> None:
    """Check that all tensors of a network were loaded, and all of the file went into it."""
    left = []
    for name, tensor in module.state_dict().items():
        if tensor.dtype.is_floating_point and bool(tensor.isnan().any()):
            left.append(name)
    if left:
        raise PackageError(
            f"{file} does not hold {len(left)} tensors of its network: {', '.join(left[:5])}",
            "They would stay random. Is it the file of another version?",
        )
    held = sum(tensor.numel() for tensor in state.values())
    needed = sum(tensor.numel() for tensor in module.state_dict().values())
    if held != needed:
        raise PackageError(
            f"{file} holds {held:,} numbers, and its network has {needed:,}: not all were loaded.",
            "Is it the file of another version?",
        )
