"""What the pages of a server have in common."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config import ModelConfig
from ..errors import InputError, ModelNotFoundError
from ..generation.model import Model
from ..registry import is_local, list_models
from ..study import Study, load
from .workshop import Loaded, Workshop


@dataclass
class Own:
    """An explorer that `medzoo.visualize` opened.

    ``pages`` counts the open pages that show it, and ``closed`` is set when the last one is gone.
    """

    model: Model
    seed: int
    loaded: Loaded | None = None
    pages: int = 0
    closed: threading.Event = field(default_factory=threading.Event)


@dataclass
class Site:
    """A server's models and settings.

    Parameters
    ----------
    models
        Id -> config, of all models that have a page.
    workshop
        The loaded models.
    read_only
        Whether pages only show what there is: no model runs, and nothing is uploaded.
    studies
        Beginning of the id -> reader study that can be answered here.
    own
        Number -> explorer that `medzoo.visualize` opened.
    made
        Key -> zip that a viewer made. The key is a secret of the viewer's page.
    """

    models: Mapping[str, ModelConfig]
    workshop: Workshop
    read_only: bool = False
    studies: Mapping[str, Study] = field(default_factory=dict)
    own: dict[int, Own] = field(default_factory=dict)
    made: dict[str, Path] = field(default_factory=dict)

    @cached_property
    def folder(self) -> Path:
        """A folder for what viewers upload and make. It is removed with the site."""
        return Path(tempfile.mkdtemp(prefix="medzoo-web-"))

    def close(self) -> None:
        """Close all models, and remove all temporary files."""
        self.workshop.close()
        if "folder" in self.__dict__:
            shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def of(cls, *, read_only: bool, device: str, studies: Sequence[Any] = ()) -> Site:
        """The site of all registered models, and of the reader studies in some folders."""
        models = {model.id: model for model in list_models() if not is_local(model)}
        opened: dict[str, Study] = {}
        for folder in studies:
            study = load(folder)
            if study.id[:8] in opened:
                raise InputError(
                    f"{folder} and {opened[study.id[:8]].folder} are copies of one study.",
                    "Serve one of them; `medzoo study merge` brings the answers together.",
                )
            opened[study.id[:8]] = study
        return cls(models, Workshop(device), read_only, opened)

    def model(self, name: str) -> ModelConfig:
        """The model with this id, or with this number.

        Raises
        ------
        ModelNotFoundError
            There is none.
        """
        for model in self.models.values():
            if name in {model.id, str(model.number)}:
                return model
        raise ModelNotFoundError(f"There is no model {name!r}.", "The first page lists all models.")
