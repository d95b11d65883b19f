"""Loaded models, which all viewers share, and whose turn it is to use them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from .._worker.devices import free_memory
from ..config import ModelConfig, Version
from ..errors import InputError
from ..generation import capacity
from ..generation.api import load
from ..generation.model import Model
from ..runtime.native import NativeSession

MOST_LOADED = 4  # models in memory
MOST_RUNS = 2  # downloads that are made at the same time; others wait


@dataclass(eq=False)
class Loaded:
    """A model that is loaded, or being loaded, and how many connected pages use it.

    ``turn`` is held while the model works. Those who wait for it get it in the order in which they
    came.
    """

    loading: asyncio.Future[Model]
    users: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def model(self) -> Model:
        """The model, once it is loaded."""
        return self.loading.result()


class Workshop:
    """The models of a server.

    Models in this process work one after the other, because torch's settings belong to the whole
    process. A model in a process of its own has its own turn.

    Parameters
    ----------
    device
        Where models run, as `medzoo.load` takes it.

    Attributes
    ----------
    runs
        Held while samples are made for a download.
    """

    def __init__(self, device: str = "auto") -> None:
        self._device = device
        self._loaded: dict[tuple[str, str], Loaded] = {}  # the one that was used last is at the end
        self._turn = asyncio.Lock()
        self.runs = asyncio.Semaphore(MOST_RUNS)

    async def borrow(self, config: ModelConfig, version: Version) -> Loaded:
        """A loaded model; `give_back` ends its use.

        Raises
        ------
        MedzooError
            Any error of `medzoo.load`, or too many models are in use.
        """
        key = config.id, version.name
        loaded = self._loaded.pop(key, None)
        if loaded is None:
            self._make_room()
            loaded = Loaded(asyncio.ensure_future(asyncio.to_thread(self._load, config, version)))
        self._loaded[key] = loaded
        loaded.users += 1
        try:
            model = await asyncio.shield(loaded.loading)
        except BaseException:
            loaded.users -= 1
            if loaded.loading.done() and self._loaded.get(key) is loaded:
                del self._loaded[key]
            raise
        if isinstance(model.session, NativeSession):
            loaded.turn = self._turn
        return loaded

    def own(self, model: Model) -> Loaded:
        """A model that was loaded elsewhere, and is closed there."""
        loading: asyncio.Future[Model] = asyncio.get_running_loop().create_future()
        loading.set_result(model)
        native = isinstance(model.session, NativeSession)
        return Loaded(loading, turn=self._turn if native else asyncio.Lock())

    def give_back(self, loaded: Loaded) -> None:
        """End a use. The model stays in memory until others need the room."""
        loaded.users -= 1

    def take_again(self, loaded: Loaded) -> None:
        """Use it again, after the connection to a page was interrupted."""
        loaded.users += 1

    def close(self) -> None:
        """Close all models."""
        for loaded in self._loaded.values():
            _close(loaded)
        self._loaded.clear()

    def _load(self, config: ModelConfig, version: Version) -> Model:
        need, free = version.memory_per_sample * 2**20, free_memory("cpu")
        if self._device in {"auto", "cpu"} and free is not None and need > free:
            raise capacity.too_big(config, version, "cpu")
        return load(config.id, version=version.name, device=self._device)

    def _make_room(self) -> None:
        idle = [key for key, loaded in self._loaded.items() if not loaded.users]
        while len(self._loaded) >= MOST_LOADED:
            if not idle:
                raise InputError(
                    f"{MOST_LOADED} other models are in use on this server.",
                    "Try again when somebody has closed a page.",
                )
            _close(self._loaded.pop(idle.pop(0)))


def _close(loaded: Loaded) -> None:
    if loaded.loading.done() and not loaded.loading.cancelled() and not loaded.loading.exception():
        loaded.model.close()
