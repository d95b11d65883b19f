"""All models as a list, which a notebook shows as a table."""

from __future__ import annotations

from html import escape
from operator import attrgetter

from ..config import ModelConfig
from ..config.html import block
from . import description
from .card import table, thumbnail
from .lookup import registry


class Models(list[ModelConfig]):
    """A list of models that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        rows = [description.row(config) for config in self]
        head, rows = description.without_empty_status(rows)
        count = f"{len(self):,} model{'s' * (len(self) != 1)}. `medzoo.info(8)` shows more of one."
        body = table(head, rows, list(map(thumbnail, self))) if self else ""
        return block(body, f"<p>{escape(count)}</p>")


def list_models() -> Models:
    """Return all registered models in the order of their ids.

    Returns
    -------
    list of ModelConfig
        A notebook shows them as a table. The models that come with medzoo or with
        `medzoo.update`, and those of the folder that ``MEDZOO_MODEL_CONFIGS`` names.

    Raises
    ------
    ConfigError
        A config breaks the schema.

    See Also
    --------
    search : Find models by words and fields.

    Examples
    --------
    >>> for model in medzoo.list_models():
    ...     print(model.id, model.modality)
    00001_DCGAN_MMG_CALC_ROI mammography
    00002_DCGAN_MMG_MASS_ROI mammography
    ...
    """
    return Models(sorted(registry().configs.values(), key=attrgetter("id")))
