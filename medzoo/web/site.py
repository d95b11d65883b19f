"""What the pages of a server have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..config import ModelConfig
from ..errors import ModelNotFoundError
from ..generation.model import Model
from ..registry import is_local, list_models
from .workshop import Workshop


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
    own
        Number -> model, of the explorers that `medzoo.visualize` opened.
    """

    models: Mapping[str, ModelConfig]
    workshop: Workshop
    read_only: bool = False
    own: dict[int, Model] = field(default_factory=dict)

    @classmethod
    def of(cls, *, read_only: bool, device: str) -> Site:
        """The site of all registered models."""
        models = {model.id: model for model in list_models() if not is_local(model)}
        return cls(models, Workshop(device), read_only)

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
