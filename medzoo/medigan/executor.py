"""One model of medigan, run by medzoo's core."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import checks
from ..config import ModelConfig, Version
from ..config.medigan import metadata_file
from ..errors import InputError, NotAvailableError
from ..generation.api import load
from ..generation.model import Model
from ..registry import PACKAGE_CONFIG, info, registry
from ..samples import Samples
from .returned import items, parts

LATENTS = "input_latent_vector"
HINTS = {
    "gpu_id": "The device is chosen for all models: Generators(device='cuda:0'), or 'cpu'.",
    "translate_all_images": "Give num_samples as many as there are pictures.",
    "seed": "Seeds are set once: Generators(seed=0).",
    "device": "The device is chosen for all models: Generators(device='cuda:0').",
    "trust": "It is given for all models: Generators(trust=True).",
}
MOST_OPEN = 2  # models in memory at a time


@dataclass(frozen=True)
class Settings:
    """How models run; see `medzoo.load`."""

    seed: int | None = None
    device: str = "auto"
    env: str = "auto"
    trust: bool = False
    sandbox: str = "auto"
    progress: bool | None = None


class ModelExecutor:
    """A model that is loaded when it is first used.

    Parameters
    ----------
    model_id : str
        A whole id.
    execution_config : dict
        The part ``execution`` of its metadata.
    settings : Settings
        How it runs.

    Examples
    --------
    >>> from medzoo.medigan import Generators
    >>> executor = Generators().get_model_executor("5")
    >>> executor.generate_method_name, executor.image_size
    ('generate', [128, 128])
    """

    _loaded: list[ModelExecutor] = []  # noqa: RUF012  (of all objects, the last used at the end)

    def __init__(
        self, model_id: str, execution_config: dict[str, Any], settings: Settings | None = None
    ) -> None:
        method = execution_config["generate_method"]
        self.model_id, self.execution_config = model_id, execution_config
        self.settings = settings or Settings()
        self.image_size = execution_config.get("image_size")
        self.dependencies = execution_config["dependencies"]
        self.model_name = execution_config["model_name"]
        self.model_extension = execution_config["extension"]
        self.package_name = execution_config["package_name"]
        self.package_link = execution_config["package_link"]
        self.generate_method_name = method["name"]
        self.generate_method_args = method["args"]
        self.generate_method_input_latent_vector_size = method.get("input_latent_vector_size")
        self._model: Model | None = None
        self._first = 0  # number of the next sample of the seed

    @property
    def source(self) -> int | Path:
        """What `medzoo.load` takes: the number of a published model, or the folder of a private
        one.
        """
        link = str(self.package_link or "")
        if "://" in link:
            if self.model_id in registry().files:
                return int(self.model_id[:5])
            raise InputError(
                f"{self.model_id} lies at {link}, and medzoo's registry does not have it.",
                "Unpack it, and name the folder in execution.package_link.",
            )
        if not (metadata_file(Path(link)) or (Path(link) / PACKAGE_CONFIG).is_file()):
            raise InputError(
                f"{self.model_id}: the folder {link} has no metadata.json.",
                "Save the metadata there; medzoo.generate and Generators both read it.",
            )
        return Path(link)

    @property
    def config(self) -> ModelConfig:
        """The config that medzoo has of the model."""
        return info(self.source)

    @property
    def version(self) -> Version:
        """The version that medigan published, not medzoo's newer one.

        Raises
        ------
        NotAvailableError
            The config has no such version.
        """
        versions = self.config.versions.values()
        if isinstance(self.source, Path):
            return self.config.default
        for version in versions:
            if version.contract == "medigan":
                return version
        raise NotAvailableError(
            f"{self.config.id} has no version that medigan published.",
            f"medzoo.generate({self.config.number}) runs {', '.join(v.name for v in versions)}.",
        )

    @property
    def number(self) -> int:
        """The number of the model."""
        return self.config.number

    def open(self) -> Model:
        """The loaded model; of several models, the last two that were used stay in memory."""
        if self._model is None:
            self._model = load(
                self.source,
                version=self.version.name,
                device=self.settings.device,
                env=self.settings.env,
                trust=self.settings.trust,
                sandbox=self.settings.sandbox,
            )
        loaded = ModelExecutor._loaded
        if self in loaded:
            loaded.remove(self)
        loaded.append(self)
        for other in loaded[:-MOST_OPEN]:
            other.close()
        return self._model

    def close(self) -> None:
        """Free the memory of the model; it is loaded again when it is used again."""
        if self._model is not None:
            self._model.close()
            self._model = None
        if self in ModelExecutor._loaded:
            ModelExecutor._loaded.remove(self)

    def generate(
        self,
        num_samples: int = 20,
        output_path: str | None = None,
        save_images: bool = True,
        is_gen_function_returned: bool = False,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[Any] | Callable[..., Any] | None:
        """Make samples; see `Generators.generate`.

        Parameters
        ----------
        num_samples, output_path, save_images, is_gen_function_returned, **kwargs : object
            See `Generators.generate`.
        batch_size : int or None
            Samples per batch; what suits the model and the memory if None.

        Returns
        -------
        list, function or None
            See `Generators.generate`.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> executor = Generators(env="current").get_model_executor("5")
        >>> len(executor.generate(2, save_images=False))
        2
        """
        if is_gen_function_returned:
            prepared = {
                "num_samples": num_samples,
                "output_path": output_path,
                "save_images": save_images,
                "batch_size": batch_size,
                **kwargs,
            }
            return lambda **changed: self.generate(**{**prepared, **changed})
        if save_images:
            path = output_path or f"output/{self.model_id}/{time.time()}/"
            self.samples(num_samples, out=path, batch_size=batch_size, **kwargs)
            return None
        samples = self.samples(num_samples, batch_size=batch_size, **kwargs)
        return items(samples, self.version, self.number)

    def samples(
        self,
        num_samples: int,
        *,
        out: str | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Samples:
        """The samples as medzoo has them, with their provenance.

        Parameters
        ----------
        num_samples : int
            How many.
        out : str or None
            A new folder to write to.
        batch_size : int or None
            See `generate`.
        **kwargs : object
            Arguments of the model, by the names that the package gives them.

        Returns
        -------
        Samples

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> executor = Generators(env="current").get_model_executor("5")
        >>> executor.samples(2).images.shape
        (2, 1, 128, 128)
        """
        num_samples = checks.count(num_samples, "num_samples")
        options = self._translated(kwargs)
        seed, first = self.settings.seed, self._first if self.settings.seed is not None else 0
        samples = self.open().generate(
            num_samples,
            out=out,
            seed=seed,
            first=first,
            batch_size=batch_size,
            progress=self.settings.progress,
            **options,
        )
        self._first += num_samples
        return samples

    def parts(self, num_samples: int, **kwargs: Any) -> dict[str, list[Any]]:
        """The samples by the keys of medigan's data set."""
        return parts(self.samples(num_samples, **kwargs), self.version, self.number)

    def _translated(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the package as arguments of `medzoo.generate`."""
        version, call = self.version, self.version.call
        latents = call.latents if call else "latents"
        inputs = {i.argument or i.name: i.name for i in version.inputs.values()}
        defaults = self.generate_method_args.get("custom") or {}
        fixed = call.arguments if call else {}
        options: dict[str, Any] = {}
        for name, value in given.items():
            if latents and name in {latents, LATENTS}:
                if value is not None:
                    options["latents"] = _rows(value)
            elif name in version.conditions:
                if value is not None:
                    options[name] = self._condition(name, value)
            elif name in version.options:
                options[name] = value
            elif name in inputs:
                if value is not None and not _is(value, defaults.get(name)):
                    options.setdefault("inputs", {})[inputs[name]] = value
            elif name not in fixed or str(fixed[name]) != str(value):
                raise self._refused(name, value, [latents, *version.conditions, *version.options])
        return options

    def _condition(self, name: str, value: Any) -> Any:
        """The name of a condition's value for what the package calls it."""
        condition = self.version.conditions[name]
        if isinstance(value, str) and value in condition.values:
            return value
        for text, number in condition.values.items():
            if condition.value_for_package(number) == value:
                return text
        known = {condition.value_for_package(n): t for t, n in condition.values.items()}
        takes = ", ".join(f"{k} ({t})" for k, t in known.items())
        raise InputError(f"{name}={checks.shown(value)} is not valid.", f"Use {takes} or None.")

    def _refused(self, name: str, value: Any, known: list[str]) -> InputError:
        call, inputs = self.version.call, self.version.inputs.values()
        if call and name in call.arguments:
            hint = HINTS.get(name) or (
                f"`medzoo copy {self.number} mine/` makes a copy whose config.yaml you can change "
                "under `call`."
            )
            problem = f"{name}={checks.shown(value)} is fixed to {call.arguments[name]!r} here."
            return InputError(f"{self.model_id}: {problem}", hint)
        takes = ", ".join(filter(None, [*known, *(i.argument for i in inputs)])) or "none"
        return InputError(
            f"{self.model_id} takes no argument {name!r}.",
            f"{checks.meant(name, known)}{HINTS.get(name, '')} It takes {takes}.".strip(),
        )

    def __repr__(self) -> str:
        return f"ModelExecutor(model_id={self.model_id})"


def _is(value: Any, default: Any) -> bool:
    """Whether an argument has its default value, which is never an array."""
    try:
        return bool(value == default)
    except ValueError:  # an array has no truth value
        return False


def _rows(latents: Any) -> Any:
    """Latents of any shape (n, ...) as rows (n, size)."""
    if hasattr(latents, "detach"):
        latents = latents.detach().cpu()
    array = np.asarray(latents)
    return array.reshape(len(array), -1) if array.ndim > 1 else array
