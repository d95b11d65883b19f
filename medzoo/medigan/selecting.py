"""The methods of medigan's `Generators` that look into the metadata and run nothing."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from typing import Any

from .. import checks
from ..errors import InputError, MedzooWarning
from .matching import (
    OPERATORS,
    ORDERS,
    ModelMatchCandidate,
    candidate,
    figure,
    number,
    one_of,
)
from .metadata import MISSING, ConfigManager, value_at


class Selecting:
    """Lists, searches and ranks models by medigan's metadata."""

    config_manager: ConfigManager

    def list_models(self) -> list[str]:
        """The ids of all models. ``medzoo.list_models()`` has medzoo's newer ones too.

        Returns
        -------
        list of str

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().list_models()[:2]
        ['00001_DCGAN_MMG_CALC_ROI', '00002_DCGAN_MMG_MASS_ROI']
        """
        return self.config_manager.model_ids

    def get_config_by_id(self, model_id: str, config_key: str | None = None) -> Any:
        """The metadata of a model, or the part of it below a key.

        Parameters
        ----------
        model_id : str
            A whole id, or its number: 5, "5" or "00005".
        config_key : str or None
            A key, with dots between the levels.

        Returns
        -------
        dict
            With the keys ``execution``, ``selection`` and ``description``; for a key, the value
            there, which may be of another type.

        Raises
        ------
        ModelNotFoundError
            There is no such model.
        InputError
            The metadata has no such key.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().get_config_by_id("2", "execution.generate_method.name")
        'generate'
        """
        return self.config_manager.get_config_by_id(model_id, config_key)

    def get_selection_criteria_by_id(
        self, model_id: str, is_model_id_removed: bool = True
    ) -> dict[str, Any]:
        """What the metadata says for choosing a model: modality, organ, performance and so on.

        Parameters
        ----------
        model_id : str
            A whole id, or its number.
        is_model_id_removed : bool
            Whether the criteria come alone. Otherwise a dict of ``model_id`` and ``selection``;
            medigan 1.0.0 ignores this argument.

        Returns
        -------
        dict

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().get_selection_criteria_by_id("5")["dataset"]
        ['BCDR']
        """
        model_id = self.config_manager.match_model_id(model_id)
        selection: dict[str, Any] = self.config_manager.config_dict[model_id]["selection"]
        return selection if is_model_id_removed else {"model_id": model_id, "selection": selection}

    def get_selection_criteria_by_ids(
        self, model_ids: Sequence[str] | None = None, are_model_ids_removed: bool = True
    ) -> list[dict[str, Any]]:
        """The criteria of several models, in the order of the metadata.

        Parameters
        ----------
        model_ids : list of str or None
            Ids or numbers. None, which is an error in medigan 1.0.0, means all models.
        are_model_ids_removed : bool
            Whether the criteria come alone. Otherwise dicts of ``model_id`` and ``selection``.

        Returns
        -------
        list of dict

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> [c["type"] for c in Generators().get_selection_criteria_by_ids(["2", "6"])]
        ['DCGAN', 'WGAN-GP']
        """
        wanted = self._ids(model_ids)
        return [self.get_selection_criteria_by_id(i, are_model_ids_removed) for i in wanted]

    def _ids(self, model_ids: Sequence[str] | None) -> list[str]:
        if model_ids is None:
            return self.list_models()
        if isinstance(model_ids, str) or not isinstance(model_ids, Sequence):
            raise InputError(f"model_ids={checks.shown(model_ids)} is not a list of ids.")
        wanted = {self.config_manager.match_model_id(i) for i in model_ids}
        return [i for i in self.list_models() if i in wanted]

    def get_selection_keys(self, model_id: str | None = None) -> list[str]:
        """The keys of the criteria, without those inside of others.

        Parameters
        ----------
        model_id : str or None
            The model. If None, the keys that any model has.

        Returns
        -------
        list of str

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().get_selection_keys("1")[:3]
        ['performance', 'use_cases', 'organ']
        """
        ids = None if model_id is None else [model_id]
        return list(dict.fromkeys(k for c in self.get_selection_criteria_by_ids(ids) for k in c))

    def get_selection_values_for_key(self, key: str, model_id: str | None = None) -> list[Any]:
        """The value of a criterion, model by model.

        Parameters
        ----------
        key : str
            A key, with dots between the levels: ``performance.turing_test.AUC``.
        model_id : str or None
            The model; all models if None.

        Returns
        -------
        list
            One value per model; None for a model that does not state it.

        Raises
        ------
        InputError
            No model has such a key.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().get_selection_values_for_key("dataset", "2")
        [['Optimam']]
        """
        ids = None if model_id is None else [model_id]
        criteria = self.get_selection_criteria_by_ids(ids)
        values = [value_at(c, key, None) for c in criteria]
        if not any(value_at(c, key) is not MISSING for c in criteria):
            raise InputError(
                f"No criterion is called {key!r}.",
                f"{checks.meant(key, self.get_selection_keys())}`get_selection_keys()` lists them.",
            )
        return values

    def get_models_by_key_value_pair(
        self, key1: str, value1: str, is_case_sensitive: bool = False
    ) -> list[dict[str, Any]]:
        """The models whose criterion has a value; of a list, one of its items.

        Parameters
        ----------
        key1 : str
            A key, with dots between the levels.
        value1 : str
            The value.
        is_case_sensitive : bool
            Whether capital and small letters differ.

        Returns
        -------
        list of dict
            ``model_id`` and the key with its value, per model.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().get_models_by_key_value_pair("dataset", "optimam")[0]
        {'model_id': '00002_DCGAN_MMG_MASS_ROI', 'dataset': 'optimam'}
        """

        def plain(value: Any) -> str:
            return str(value) if is_case_sensitive else str(value).lower()

        found = []
        for model in self.get_selection_criteria_by_ids(None, are_model_ids_removed=False):
            value = value_at(model["selection"], key1, None)
            if value is None or isinstance(value, dict):
                continue
            items = value if isinstance(value, list) else [value]
            if plain(value1) in map(plain, items):
                found.append({"model_id": model["model_id"], key1: value1})
        return found

    def rank_models_by_performance(
        self,
        model_ids: Sequence[str] | None = None,
        metric: str = "SSIM",
        order: str = "asc",
    ) -> list[dict[str, Any]]:
        """Models by a metric of the metadata. They were measured on different data: see
        ``medzoo.search(sort=...)``, which ranks only what is comparable.

        Parameters
        ----------
        model_ids : list of str or None
            Ids or numbers; all models if None.
        metric : str
            A key below ``performance``, with dots between the levels.
        order : str
            ``asc`` for the smallest first, or ``desc``. Of a model with several values, the first
            in that order counts.

        Returns
        -------
        list of dict
            ``model_id`` and the metric. Models without the metric are left out; if none has it, a
            warning says so.

        Raises
        ------
        InputError
            ``order`` is another word.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().rank_models_by_performance(["1", "2", "6"], metric="FID")[0]
        {'model_id': '00001_DCGAN_MMG_CALC_ROI', 'FID': 67.6}
        """
        one_of(order, "order", ORDERS)
        ranked = []
        for model in self.get_selection_criteria_by_ids(model_ids, are_model_ids_removed=False):
            value = figure(value_at(model["selection"], f"performance.{metric}", None), order)
            if number(value) is not None:
                ranked.append({"model_id": model["model_id"], metric: value})
        if not ranked and (model_ids is None or model_ids):
            near = difflib.get_close_matches(metric, self._metrics(), n=3, cutoff=0.5)
            close = f" Close to it: {', '.join(near)}." if near else ""
            warnings.warn(
                f"None of these models has a figure for {metric!r}.{close}",
                MedzooWarning,
                stacklevel=2,
            )
        return sorted(ranked, key=lambda m: number(m[metric]) or 0.0, reverse=order == "desc")

    def _metrics(self) -> list[str]:
        def inside(content: Any, before: str = "") -> list[str]:
            if not isinstance(content, dict):
                return [before[:-1]]
            return [m for k, v in content.items() for m in inside(v, f"{before}{k}.")]

        performances = self.get_selection_values_for_key("performance")
        return sorted({m for p in performances if p for m in inside(p)})

    def find_matching_models_by_values(
        self,
        values: Sequence[Any],
        target_values_operator: str = "AND",
        are_keys_also_matched: bool = False,
        is_case_sensitive: bool = False,
    ) -> list[ModelMatchCandidate]:
        """The models whose criteria have the given values, as whole texts. ``medzoo.search`` also
        knows words, synonyms and slips of typing.

        Parameters
        ----------
        values : list
            What to look for.
        target_values_operator : str
            ``AND`` for all values, ``OR`` for any of them, ``XOR`` for exactly one.
        are_keys_also_matched : bool
            Whether the names of criteria count as well.
        is_case_sensitive : bool
            Whether capital and small letters differ.

        Returns
        -------
        list of ModelMatchCandidate

        Raises
        ------
        InputError
            There are no values, or the operator is another word.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> found = Generators().find_matching_models_by_values(["dcgan", "mmg", "OPTIMAM"])
        >>> [model.model_id for model in found]
        ['00002_DCGAN_MMG_MASS_ROI']
        """
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise InputError(
                f"values={checks.shown(values)} is not a list of values.",
                "Such as values=['dcgan', 'mammography'].",
            )
        one_of(target_values_operator, "target_values_operator", OPERATORS)
        models = (
            candidate(
                model["model_id"],
                model["selection"],
                values,
                target_values_operator,
                keys=are_keys_also_matched,
                case=is_case_sensitive,
            )
            for model in self.get_selection_criteria_by_ids(None, are_model_ids_removed=False)
        )
        return [model for model in models if model.is_match]

    def find_models_and_rank(
        self,
        values: Sequence[Any],
        target_values_operator: str = "AND",
        are_keys_also_matched: bool = False,
        is_case_sensitive: bool = False,
        metric: str = "SSIM",
        order: str = "asc",
    ) -> list[dict[str, Any]]:
        """Search as `find_matching_models_by_values`, and rank as `rank_models_by_performance`.

        Parameters
        ----------
        values, target_values_operator, are_keys_also_matched, is_case_sensitive : object
            See `find_matching_models_by_values`.
        metric, order : str
            See `rank_models_by_performance`.

        Returns
        -------
        list of dict
            ``model_id`` and the metric.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> found = Generators().find_models_and_rank(["dcgan", "mmg"], metric="FID")
        >>> found[0]
        {'model_id': '00001_DCGAN_MMG_CALC_ROI', 'FID': 67.6}
        """
        found = self.find_matching_models_by_values(
            values, target_values_operator, are_keys_also_matched, is_case_sensitive
        )
        return self.rank_models_by_performance([m.model_id for m in found], metric, order)
