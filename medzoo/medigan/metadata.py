"""The metadata of medigan's models: the file ``global.json``, and entries that a user adds.

``global.json`` is the file of the public repository RichardObi/medigan (commit db39b90, MIT
license, see ``LICENSE`` beside it), unchanged. It is read from the installed package, so no
network is needed.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import checks
from ..config.medigan import problem_of
from ..errors import InputError, MedzooWarning, ModelNotFoundError

GLOBAL = Path(__file__).parent / "global.json"
MISSING = object()


@lru_cache(maxsize=1)
def _published() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(GLOBAL.read_text(encoding="utf-8"))
    return content


def value_at(content: Any, key: str, default: Any = MISSING) -> Any:
    """The value at a key of several parts, such as ``performance.CLF.trained_on_real.f1``;
    ``default`` if there is no such key.
    """
    for part in key.split("."):
        if not isinstance(content, Mapping) or part not in content:
            return default
        content = content[part]
    return content


class ConfigManager:
    """The metadata of all models, by id.

    Parameters
    ----------
    config_dict : dict or None
        Model id to metadata, as in medigan's ``global.json``. If None, the 23 models that medigan
        published.

    Examples
    --------
    >>> from medzoo.medigan import ConfigManager
    >>> len(ConfigManager().model_ids)
    23
    """

    def __init__(self, config_dict: dict[str, Any] | None = None) -> None:
        if config_dict is not None and not isinstance(config_dict, dict):
            raise InputError(
                f"config_dict={checks.shown(config_dict)} is not a dict of model id to metadata.",
                "Leave it out for the models that medigan published.",
            )
        self.config_dict = copy.deepcopy(_published() if config_dict is None else config_dict)
        self.is_config_loaded = True

    @property
    def model_ids(self) -> list[str]:
        """The ids of all models."""
        return list(self.config_dict)

    def match_model_id(self, provided_model_id: str | int) -> str:
        """The whole id for an id or its number.

        Parameters
        ----------
        provided_model_id : str or int
            A whole id, or its number: 5, "5" or "00005".

        Returns
        -------
        str
            Such as ``00005_DCGAN_MMG_MASS_ROI``.

        Raises
        ------
        ModelNotFoundError
            There is no such model.

        Examples
        --------
        >>> from medzoo.medigan import ConfigManager
        >>> ConfigManager().match_model_id("5")
        '00005_DCGAN_MMG_MASS_ROI'
        """
        text = str(provided_model_id).strip()
        if text in self.config_dict:
            return text
        if text.isdecimal() and len(text) <= 5:
            for model_id in self.config_dict:
                if model_id[:5] == text.zfill(5):
                    return model_id
        near = checks.meant(text, self.model_ids)
        raise ModelNotFoundError(
            f"medigan has no model {text!r}.",
            f"{near}`list_models()` has all {len(self.config_dict)}; medzoo's newer models are in "
            "`medzoo.list_models()`.",
        )

    def get_config_by_id(self, model_id: str, config_key: str | None = None) -> Any:
        """The metadata of a model, or the part of it below a key.

        Parameters
        ----------
        model_id : str
            A whole id, or its number.
        config_key : str or None
            A key, with dots between the levels: ``execution.generate_method.name``.

        Returns
        -------
        dict
            The metadata; for a key, the value there, which may be of another type.

        Raises
        ------
        ModelNotFoundError
            There is no such model.
        InputError
            The metadata has no such key.

        Examples
        --------
        >>> from medzoo.medigan import ConfigManager
        >>> ConfigManager().get_config_by_id("5", "execution.image_size")
        [128, 128]
        """
        model_id = self.match_model_id(model_id)
        config = self.config_dict[model_id]
        if config_key is None:
            return config
        value = value_at(config, config_key)
        if value is MISSING:
            raise InputError(
                f"The metadata of {model_id} has no key {config_key!r}.",
                f"At the top it has {', '.join(config)}.",
            )
        return value

    def is_model_in_config(self, model_id: str) -> bool:
        """Whether there is metadata of a model.

        Parameters
        ----------
        model_id : str
            A whole id.

        Returns
        -------
        bool

        Examples
        --------
        >>> from medzoo.medigan import ConfigManager
        >>> ConfigManager().is_model_in_config("00099_UNKNOWN_MODEL")
        False
        """
        return model_id in self.config_dict

    def is_model_metadata_valid(
        self, model_id: str, metadata: dict[str, Any], is_local_model: bool = True
    ) -> bool:
        """Whether metadata has all that running a model needs; a warning says what is missing.

        Parameters
        ----------
        model_id : str
            The key of the model in ``metadata``.
        metadata : dict
            Model id to metadata, as in a ``metadata.json``.
        is_local_model : bool
            Whether ``execution.package_link`` is a folder on this machine, not an address.

        Returns
        -------
        bool

        Examples
        --------
        >>> from medzoo.medigan import ConfigManager
        >>> manager = ConfigManager()
        >>> manager.is_model_metadata_valid("00005_DCGAN_MMG_MASS_ROI", manager.config_dict,
        ...                                 is_local_model=False)
        True
        """
        problem = problem_of(model_id, metadata)
        link = "" if problem else str(metadata[model_id]["execution"]["package_link"])
        if not problem and is_local_model and not Path(link).exists():
            problem = f"execution.package_link: there is no folder {link!r}"
        if not problem and not is_local_model and "://" not in link:
            problem = f"execution.package_link: {link!r} is not an address"
        if problem:
            warnings.warn(f"{model_id}: {problem}.", MedzooWarning, stacklevel=3)
        return not problem

    def add_model_to_config(
        self,
        model_id: str,
        metadata: dict[str, Any],
        is_local_model: bool | None = None,
        overwrite_existing_metadata: bool = False,
        store_new_config: bool = True,
    ) -> bool:
        """Add the metadata of a model to this object.

        Parameters
        ----------
        model_id : str
            The key of the model in ``metadata``.
        metadata : dict
            Model id to metadata, as in a ``metadata.json``.
        is_local_model : bool or None
            Whether ``execution.package_link`` is a folder on this machine. If None, it is one when
            it is not an address.
        overwrite_existing_metadata : bool
            Whether metadata of that id is replaced.
        store_new_config : bool
            medigan also wrote ``config/global.json`` in the working directory. medzoo writes no
            such file: a warning names what to do instead.

        Returns
        -------
        bool
            Whether it was added; a warning says why it was not.

        Examples
        --------
        >>> from medzoo.medigan import ConfigManager
        >>> manager = ConfigManager()
        >>> entry = {"00042_MY_MODEL": manager.get_config_by_id("5")}
        >>> manager.add_model_to_config("00042_MY_MODEL", entry, store_new_config=False)
        True
        """
        if is_local_model is None and not problem_of(model_id, metadata):
            is_local_model = "://" not in str(metadata[model_id]["execution"]["package_link"])
        if not self.is_model_metadata_valid(model_id, metadata, bool(is_local_model)):
            return False
        if self.is_model_in_config(model_id) and not overwrite_existing_metadata:
            warnings.warn(
                f"{model_id} has metadata already, and it was kept. "
                "overwrite_existing_metadata=True replaces it.",
                MedzooWarning,
                stacklevel=3,
            )
            return False
        self.config_dict[model_id] = copy.deepcopy(metadata[model_id])
        if store_new_config:
            warnings.warn(
                f"{model_id} is known to this object alone: medzoo writes no config/global.json. "
                "Keep the metadata as metadata.json in the package's folder; "
                "`medzoo generate FOLDER` and generate('FOLDER/') read it there. "
                "store_new_config=False leaves this notice out.",
                MedzooWarning,
                stacklevel=3,
            )
        return True

    def __repr__(self) -> str:
        return f"ConfigManager(model_ids={self.model_ids})"

    def __len__(self) -> int:
        return len(self.config_dict)

    def __getitem__(self, idx: int) -> str:
        return self.model_ids[idx]
