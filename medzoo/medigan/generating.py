"""The methods of medigan's `Generators` that run models."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .executor import ModelExecutor, Settings
from .selecting import Selecting

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from .dataset import SyntheticDataset


class Generating(Selecting):
    """Generates, and gives data sets and loaders."""

    model_executors: list[ModelExecutor]
    settings: Settings

    def generate(
        self,
        model_id: str,
        num_samples: int = 30,
        output_path: str | None = None,
        save_images: bool = True,
        is_gen_function_returned: bool = False,
        install_dependencies: bool = False,
        **kwargs: Any,
    ) -> list[Any] | Callable[..., Any] | None:
        """Make samples of a model, in the version that medigan published.

        Parameters
        ----------
        model_id : str
            A whole id, or its number: 5, "5" or "00005".
        num_samples : int
            How many.
        output_path : str or None
            A new or empty folder to write to; ``output/MODEL_ID/TIME/`` in the working directory if
            None. Files are written as in `medzoo.generate`, with manifest and provenance; their
            names differ from medigan's.
        save_images : bool
            Whether samples are written to files. Otherwise they are returned.
        is_gen_function_returned : bool
            Whether a function is returned that makes samples when it is called, with arguments
            that replace those given here.
        install_dependencies : bool
            Accepted, and without effect: medzoo builds an environment for the model by itself and
            never installs into yours.
        **kwargs : object
            Arguments of the model, by the names that the package gives them; ``batch_size``; and
            ``input_latent_vector``, an array of shape (n, size, 1, 1) or (n, size).

        Returns
        -------
        None
            If ``save_images`` is true.
        list
            If it is false: one array (H, W) or (H, W, C) per sample; or a tuple per sample, of
            picture, mask and so on, with the name of its class at the end.
        function
            If ``is_gen_function_returned`` is true.

        Raises
        ------
        InputError
            An argument is unknown, or is fixed in medzoo's config of the model.
        MedzooError
            Whatever `medzoo.generate` raises.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> images = Generators(env="current").generate("5", num_samples=2, save_images=False)
        >>> len(images), images[0].shape, images[0].dtype
        (2, (128, 128, 1), dtype('uint8'))
        """
        return self.get_model_executor(model_id, install_dependencies).generate(
            num_samples=num_samples,
            output_path=output_path,
            save_images=save_images,
            is_gen_function_returned=is_gen_function_returned,
            **kwargs,
        )

    def get_generate_function(
        self,
        model_id: str,
        num_samples: int = 30,
        output_path: str | None = None,
        install_dependencies: bool = False,
        **kwargs: Any,
    ) -> Callable[..., Any]:
        """A function that makes samples each time it is called; the model is loaded once.

        Parameters
        ----------
        model_id, num_samples, output_path, install_dependencies, **kwargs : object
            See `generate`.

        Returns
        -------
        function
            Takes arguments of `generate` that replace those given here, ``save_images`` too.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> function = Generators(env="current").get_generate_function("5", num_samples=2)
        >>> len(function(save_images=False))
        2
        """
        made = self.generate(
            model_id,
            num_samples,
            output_path,
            is_gen_function_returned=True,
            install_dependencies=install_dependencies,
            **kwargs,
        )
        assert callable(made)  # noqa: S101  (a function was asked for)
        return made

    def find_model_and_generate(
        self,
        values: Sequence[Any],
        target_values_operator: str = "AND",
        are_keys_also_matched: bool = False,
        is_case_sensitive: bool = False,
        num_samples: int = 30,
        output_path: str | None = None,
        is_gen_function_returned: bool = False,
        install_dependencies: bool = False,
        **kwargs: Any,
    ) -> list[Any] | Callable[..., Any] | None:
        """Search for one model and make samples of it.

        Parameters
        ----------
        values, target_values_operator, are_keys_also_matched, is_case_sensitive : object
            See `find_matching_models_by_values`.
        num_samples, output_path, is_gen_function_returned, install_dependencies, **kwargs : object
            See `generate`.

        Returns
        -------
        list, function or None
            See `generate`.

        Raises
        ------
        InputError
            Not exactly one model was found. medigan 1.0.0 logs this and returns None.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> generators = Generators(env="current")
        >>> samples = generators.find_model_and_generate(
        ...     ["dcgan", "mmg", "bcdr", "128x128", "masses", "nodules"], num_samples=2,
        ...     save_images=False)
        >>> len(samples)
        2
        """
        found = self.find_matching_models_by_values(
            values, target_values_operator, are_keys_also_matched, is_case_sensitive
        )
        if len(found) != 1:
            ids = ", ".join(m.model_id for m in found) or "none"
            raise InputError(
                f"The search {list(values)} found {len(found)} models, and one is needed: {ids}.",
                "Add values or take some away; find_models_rank_and_generate takes the best one.",
            )
        return self.generate(
            found[0].model_id,
            num_samples,
            output_path,
            is_gen_function_returned=is_gen_function_returned,
            install_dependencies=install_dependencies,
            **kwargs,
        )

    def find_models_rank_and_generate(
        self,
        values: Sequence[Any],
        target_values_operator: str = "AND",
        are_keys_also_matched: bool = False,
        is_case_sensitive: bool = False,
        metric: str = "SSIM",
        order: str = "asc",
        num_samples: int = 30,
        output_path: str | None = None,
        is_gen_function_returned: bool = False,
        install_dependencies: bool = False,
        **kwargs: Any,
    ) -> list[Any] | Callable[..., Any] | None:
        """Search for models and make samples of the first one by a metric.

        Parameters
        ----------
        values, target_values_operator, are_keys_also_matched, is_case_sensitive : object
            See `find_matching_models_by_values`.
        metric, order : str
            See `rank_models_by_performance`.
        num_samples, output_path, is_gen_function_returned, install_dependencies, **kwargs : object
            See `generate`.

        Returns
        -------
        list, function or None
            See `generate`.

        Raises
        ------
        InputError
            No model was found that has the metric.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> samples = Generators(env="current").find_models_rank_and_generate(
        ...     ["bcdr", "dcgan"], metric="FID", num_samples=2, save_images=False)
        >>> len(samples)
        2
        """
        ranked = self.find_models_and_rank(
            values, target_values_operator, are_keys_also_matched, is_case_sensitive, metric, order
        )
        if not ranked:
            raise InputError(
                f"The search {list(values)} found no model with a figure for {metric!r}.",
                "find_matching_models_by_values shows what it finds without a metric.",
            )
        return self.generate(
            ranked[0]["model_id"],
            num_samples,
            output_path,
            is_gen_function_returned=is_gen_function_returned,
            install_dependencies=install_dependencies,
            **kwargs,
        )

    def get_as_torch_dataset(
        self,
        model_id: str,
        num_samples: int = 100,
        install_dependencies: bool = False,
        transform: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> SyntheticDataset:
        """Samples as a torch data set of numpy arrays, all made at once and kept in memory.
        `medzoo.dataset` makes them when they are read.

        Parameters
        ----------
        model_id, num_samples, install_dependencies, **kwargs : object
            See `generate`.
        transform : function or None
            Called with the pictures of a sample.

        Returns
        -------
        SyntheticDataset
            Its items are dicts of ``sample`` and, where there are such, ``label``, ``mask`` and
            ``other_imaging_output``. Arrays are not scaled.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> dataset = Generators(env="current").get_as_torch_dataset("5", num_samples=3)
        >>> len(dataset), dataset[0]["sample"].shape
        (3, (128, 128, 1))
        """
        from .dataset import SyntheticDataset

        executor = self.get_model_executor(model_id, install_dependencies)
        columns = executor.parts(num_samples, **kwargs)
        return SyntheticDataset(
            columns["sample"],
            columns.get("mask"),
            columns.get("other_imaging_output"),
            columns.get("label"),
            transform,
        )

    def get_as_torch_dataloader(
        self,
        dataset: Any = None,
        model_id: str | None = None,
        num_samples: int = 1000,
        install_dependencies: bool = False,
        transform: Callable[..., Any] | None = None,
        batch_size: int | None = 1,
        shuffle: bool | None = False,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int | None = 0,
        collate_fn: Callable[..., Any] | None = None,
        pin_memory: bool | None = False,
        drop_last: bool | None = False,
        timeout: float | None = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        prefetch_factor: int | None = 2,
        persistent_workers: bool | None = False,
        **kwargs: Any,
    ) -> DataLoader[Any]:
        """A torch DataLoader over `get_as_torch_dataset`. `medzoo.dataloader` makes samples during
        the training, and continues with the same ones.

        Parameters
        ----------
        dataset : torch.utils.data.Dataset or None
            A data set to read in place of samples of ``model_id``.
        model_id, num_samples, install_dependencies, transform, **kwargs : object
            See `get_as_torch_dataset`.
        batch_size, shuffle, sampler, batch_sampler, num_workers, collate_fn : object
            As in torch; torch's default if None.
        pin_memory, drop_last, timeout, worker_init_fn, persistent_workers : object
            As in torch; torch's default if None.
        prefetch_factor : int or None
            As in torch, which takes it only with workers; without them the default of medigan 1.0.0
            is left out.

        Returns
        -------
        torch.utils.data.DataLoader

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> generators = Generators(env="current")
        >>> loader = generators.get_as_torch_dataloader(model_id="5", num_samples=4, batch_size=2)
        >>> next(iter(loader))["sample"].shape
        torch.Size([2, 128, 128, 1])
        """
        from torch.utils.data import DataLoader

        if dataset is None:
            if model_id is None:
                raise InputError("Neither `dataset` nor `model_id` was given.", "Such as '5'.")
            dataset = self.get_as_torch_dataset(
                model_id, num_samples, install_dependencies, transform, **kwargs
            )
        elif kwargs:
            raise InputError(
                f"{', '.join(kwargs)} has no effect on a data set that is given.",
                "Leave it out, or give `model_id` in place of `dataset`.",
            )
        options = {
            "batch_size": None if batch_sampler is not None else batch_size,
            "shuffle": shuffle or None,
            "sampler": sampler,
            "batch_sampler": batch_sampler,
            "num_workers": num_workers,
            "collate_fn": collate_fn,
            "pin_memory": pin_memory,
            "drop_last": drop_last,
            "timeout": timeout,
            "worker_init_fn": worker_init_fn,
            "prefetch_factor": prefetch_factor if num_workers else None,
            "persistent_workers": persistent_workers,
        }
        return DataLoader(dataset, **{k: v for k, v in options.items() if v is not None})

    def visualize(
        self,
        model_id: str,
        slider_grouper: int = 10,
        auto_close: bool = False,
        install_dependencies: bool = False,
    ) -> None:
        """Explore a model by sliders; see `medzoo.visualize`.

        Parameters
        ----------
        model_id : str
            See `generate`.
        slider_grouper : int
            Accepted at its default only: medzoo's sliders group latents by themselves.
        auto_close : bool
            Whether the window closes by itself: it is not opened then, and a grid of samples is
            written to ``medzoo_MODEL_ID.png`` instead.
        install_dependencies : bool
            See `generate`.

        Raises
        ------
        InputError
            ``slider_grouper`` is another number.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators(env="current").visualize("5", auto_close=True)
        A grid of 16 samples of 00005_DCGAN_MMG_MASS_ROI is in medzoo_00005_DCGAN_MMG_MASS_ROI.png
        """
        if slider_grouper != 10:
            raise InputError(
                f"slider_grouper={slider_grouper!r} is not supported.",
                "The sliders of medzoo.visualize group latents by themselves.",
            )
        from ..view import visualize

        executor = self.get_model_executor(model_id, install_dependencies)
        save = f"medzoo_{executor.model_id}.png" if auto_close else None
        visualize(
            executor.source,
            version=executor.version.name,
            device=self.settings.device,
            env=self.settings.env,
            trust=self.settings.trust,
            sandbox=self.settings.sandbox,
            save=save,
        )

    # -----------------------------------------------------------------------------------------
    # executors
    def add_model_executor(self, model_id: str, install_dependencies: bool = False) -> None:
        """Prepare a model. It is downloaded and loaded when it is first used.

        Parameters
        ----------
        model_id, install_dependencies : object
            See `generate`.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> generators = Generators()
        >>> generators.add_model_executor("2")
        >>> len(generators)
        1
        """
        self.get_model_executor(model_id, install_dependencies)

    def add_all_model_executors(self) -> None:
        """Prepare all models; see `add_model_executor`.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> generators = Generators()
        >>> generators.add_all_model_executors()
        >>> len(generators)
        23
        """
        for model_id in self.list_models():
            self.add_model_executor(model_id)

    def is_model_executor_already_added(self, model_id: str) -> bool:
        """Whether a model is prepared.

        Parameters
        ----------
        model_id : str
            See `generate`.

        Returns
        -------
        bool

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().is_model_executor_already_added("2")
        False
        """
        return self.find_model_executor_by_id(model_id) is not None

    def find_model_executor_by_id(self, model_id: str) -> ModelExecutor | None:
        """The executor of a model, if it is prepared.

        Parameters
        ----------
        model_id : str
            See `generate`.

        Returns
        -------
        ModelExecutor or None

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().find_model_executor_by_id("2") is None
        True
        """
        wanted = self.config_manager.match_model_id(model_id)
        return next((e for e in self.model_executors if e.model_id == wanted), None)

    def get_model_executor(
        self,
        model_id: str,
        install_dependencies: bool = False,
    ) -> ModelExecutor:
        """The executor of a model, prepared if it is not yet.

        Parameters
        ----------
        model_id, install_dependencies : object
            See `generate`.

        Returns
        -------
        ModelExecutor

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().get_model_executor("2").package_name
        'MALIGN_DCGAN'
        """
        if isinstance(model_id, os.PathLike) or "/" in str(model_id):
            folder = Path(model_id)
            raise InputError(
                f"{str(folder)!r} is a folder, not the id of a model.",
                f"medzoo.generate({str(folder)!r}, n, trust=True) runs a package in a folder.",
            )
        executor = self.find_model_executor_by_id(model_id)
        if executor is None:
            whole = self.config_manager.match_model_id(model_id)
            execution = self.config_manager.get_config_by_id(whole, "execution")
            executor = ModelExecutor(whole, execution, self.settings)
            self.model_executors.append(executor)
        return executor
