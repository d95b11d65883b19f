"""medigan's class `Generators`."""

from __future__ import annotations

from types import TracebackType

from ..errors import InputError
from .contributing import Contributing, ModelContributor
from .executor import ModelExecutor, Settings
from .metadata import ConfigManager


class Generators(Contributing):
    """The public methods of medigan 1.0.0, with medzoo's core and medigan's versions of models.

    Parameters
    ----------
    config_manager : ConfigManager or None
        The metadata of the models; of the 23 that medigan published if None.
    model_selector : None
        Not needed: `Generators` searches by itself.
    model_executors : list of ModelExecutor or None
        Models that are prepared already.
    model_contributors : list of ModelContributor or None
        Private models that are named already.
    initialize_all_models : bool
        Whether to prepare all models. They are still downloaded and loaded when they are used.
    seed : int or None
        Root seed. Each call continues where the last one of that model ended, and the same calls
        give the same samples. A fresh seed per call if None, as in medigan.
    device, env, trust, sandbox, progress : object
        See `medzoo.load` and `medzoo.generate`. medigan itself has no such arguments.

    Examples
    --------
    >>> from medzoo.medigan import Generators
    >>> generators = Generators()
    >>> len(generators.list_models())
    23
    """

    def __init__(
        self,
        config_manager: ConfigManager | None = None,
        model_selector: None = None,
        model_executors: list[ModelExecutor] | None = None,
        model_contributors: list[ModelContributor] | None = None,
        initialize_all_models: bool = False,
        *,
        seed: int | None = None,
        device: str = "auto",
        env: str = "auto",
        trust: bool = False,
        sandbox: str = "auto",
        progress: bool | None = None,
    ) -> None:
        if model_selector is not None:
            raise InputError(
                "model_selector is not used by medzoo.medigan.",
                "Leave it out: the methods of Generators search and rank.",
            )
        if config_manager is not None and not isinstance(config_manager, ConfigManager):
            raise InputError(
                f"config_manager is of type {type(config_manager).__name__}.",
                "Use medzoo.medigan.ConfigManager(config_dict).",
            )
        self.config_manager = config_manager or ConfigManager()
        self.model_executors = [] if model_executors is None else model_executors
        self.model_contributors = [] if model_contributors is None else model_contributors
        self.settings = Settings(seed, device, env, trust, sandbox, progress)
        if initialize_all_models:
            self.add_all_model_executors()

    def close(self) -> None:
        """Free the memory of the models. They are loaded again when they are used again.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> with Generators() as generators:  # closes at the end
        ...     count = len(generators.list_models())
        """
        for executor in self.model_executors:
            executor.close()

    def __enter__(self) -> Generators:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        ids = self.config_manager.model_ids
        return f"Generators(model_ids={ids}, model_executors={self.model_executors})"

    def __len__(self) -> int:
        return len(self.model_executors)

    def __getitem__(self, idx: int) -> ModelExecutor:
        return self.model_executors[idx]
