"""The methods of medigan's `Generators` around private models and publishing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .. import settings
from ..errors import InputError, NotAvailableError, PackageError
from .generating import Generating

NEW_WAY = (
    "`medzoo contribute new mine/ --from-medigan FOLDER` writes the config from the metadata of "
    "medigan; `medzoo contribute --help` lists the steps after it, and CONTRIBUTING.md explains "
    "them."
)
TOKENS = "Tokens are read from the environment or the keyring, never from an argument."


@dataclass
class ModelContributor:
    """A private model: where its code is, and its metadata.

    Parameters
    ----------
    model_id : str
        Its id.
    init_py_path : str or None
        The path of its ``__init__.py``, or of the folder.
    metadata : dict
        Model id to metadata.

    Examples
    --------
    >>> from medzoo.medigan import ModelContributor
    >>> ModelContributor("00042_MY_MODEL", "mine/__init__.py").package_path
    'mine'
    """

    model_id: str
    init_py_path: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def package_path(self) -> str | None:
        """The folder of the package."""
        if self.init_py_path is None:
            return None
        path = settings.user_path(self.init_py_path, "init_py_path")
        return str(path.parent if path.name == "__init__.py" else path)


class Contributing(Generating):
    """Tests private models; publishing them is the task of ``medzoo contribute``."""

    model_contributors: list[ModelContributor]

    def _whole(self, model_id: str) -> str:
        known = self.config_manager
        return model_id if len(str(model_id)) > 5 else known.match_model_id(model_id)

    def add_model_contributor(
        self, model_id: str, init_py_path: str | None = None
    ) -> ModelContributor:
        """Name a private model and the folder of its code.

        Parameters
        ----------
        model_id : str
            Its id.
        init_py_path : str or None
            The path of its ``__init__.py``.

        Returns
        -------
        ModelContributor
            The existing one, if there is one of that id.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().add_model_contributor("00042_MY_MODEL", "mine/__init__.py").model_id
        '00042_MY_MODEL'
        """
        model_id = self._whole(model_id)
        contributor = self.get_model_contributor_by_id(model_id)
        if contributor is None:
            contributor = ModelContributor(model_id, init_py_path)
            self.model_contributors.append(contributor)
        elif init_py_path not in (None, contributor.init_py_path):
            raise InputError(
                f"{model_id} has a contributor already, with the code in "
                f"{contributor.package_path}.",
                "Give the model another id.",
            )
        return contributor

    def get_model_contributor_by_id(self, model_id: str) -> ModelContributor | None:
        """The private model of an id, if it was named.

        Parameters
        ----------
        model_id : str
            Its id.

        Returns
        -------
        ModelContributor or None

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().get_model_contributor_by_id("00042_MY_MODEL") is None
        True
        """
        wanted = self._whole(model_id)
        return next((c for c in self.model_contributors if c.model_id == wanted), None)

    def _contributor(self, model_id: str) -> ModelContributor:
        contributor = self.get_model_contributor_by_id(model_id)
        if contributor is None:
            raise InputError(
                f"{model_id} has no contributor.",
                f"Run add_model_contributor({model_id!r}, 'mine/__init__.py') first.",
            )
        return contributor

    def add_metadata_from_file(self, model_id: str, metadata_file_path: str) -> dict[str, Any]:
        """Read the metadata of a private model.

        Parameters
        ----------
        model_id : str
            Its id, which `add_model_contributor` named.
        metadata_file_path : str
            A ``metadata.json``, or the folder that holds it.

        Returns
        -------
        dict
            Model id to metadata. ``package_link`` is the folder of the code.

        Raises
        ------
        InputError
            The file cannot be read, or has no entry of that id.

        Examples
        --------
        >>> import json, pathlib
        >>> from medzoo.medigan import Generators
        >>> generators = Generators()
        >>> entry = {"00042_MY_MODEL": generators.get_config_by_id("5")}
        >>> _ = pathlib.Path("metadata.json").write_text(json.dumps(entry))
        >>> _ = generators.add_model_contributor("00042_MY_MODEL", "mine/__init__.py")
        >>> list(generators.add_metadata_from_file("00042_MY_MODEL", "metadata.json"))
        ['00042_MY_MODEL']
        """
        contributor = self._contributor(model_id)
        path = settings.user_path(metadata_file_path, "metadata_file_path")
        path = path / "metadata.json" if path.is_dir() else path
        try:
            metadata = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as JSON: {error}.") from error
        entry = metadata.get(contributor.model_id) if isinstance(metadata, dict) else None
        if not isinstance(entry, dict) or not isinstance(entry.get("execution"), dict):
            has = ", ".join(map(str, metadata)) if isinstance(metadata, dict) else "none"
            raise InputError(f"{path} has no entry {contributor.model_id!r}.", f"It has {has}.")
        if contributor.package_path is not None:
            entry["execution"]["package_link"] = contributor.package_path
        contributor.metadata = {contributor.model_id: entry}
        return contributor.metadata

    def is_model_metadata_valid(
        self, model_id: str, metadata: dict[str, Any], is_local_model: bool = True
    ) -> bool:
        """Whether metadata has all that running a model needs; a warning says what is missing.

        Parameters
        ----------
        model_id, metadata, is_local_model : object
            See `ConfigManager.is_model_metadata_valid`.

        Returns
        -------
        bool

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> generators = Generators()
        >>> entry = {"00042_MY_MODEL": generators.get_config_by_id("5")}
        >>> generators.is_model_metadata_valid("00042_MY_MODEL", entry, is_local_model=False)
        True
        """
        return self.config_manager.is_model_metadata_valid(model_id, metadata, is_local_model)

    def add_model_to_config(
        self,
        model_id: str,
        metadata: dict[str, Any],
        is_local_model: bool | None = None,
        overwrite_existing_metadata: bool = False,
        store_new_config: bool = True,
    ) -> bool:
        """Add the metadata of a private model, so that `generate` runs it.

        Parameters
        ----------
        model_id, metadata, is_local_model, overwrite_existing_metadata, store_new_config : object
            See `ConfigManager.add_model_to_config`.

        Returns
        -------
        bool
            Whether it was added; a warning says why it was not.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> generators = Generators()
        >>> entry = {"00042_MY_MODEL": generators.get_config_by_id("5")}
        >>> generators.add_model_to_config("00042_MY_MODEL", entry, store_new_config=False)
        True
        """
        return self.config_manager.add_model_to_config(
            model_id, metadata, is_local_model, overwrite_existing_metadata, store_new_config
        )

    def test_model(
        self,
        model_id: str,
        is_local_model: bool = True,
        overwrite_existing_metadata: bool = False,
        store_new_config: bool = True,
        num_samples: int = 3,
        install_dependencies: bool = False,
    ) -> None:
        """Test that a model gives as many samples as it is asked for. ``medzoo test`` and ``medzoo
        contribute check`` test far more.

        Parameters
        ----------
        model_id : str
            Its id.
        is_local_model : bool
            Whether it is a private model, which `add_model_contributor` named.
        overwrite_existing_metadata, store_new_config : bool
            See `add_model_to_config`.
        num_samples : int
            How many samples.
        install_dependencies : bool
            See `generate`.

        Raises
        ------
        InputError
            The private model has no metadata, or it is not valid.
        MedzooError
            Whatever `generate` raises.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators(env="current").test_model("5", is_local_model=False)
        """
        if is_local_model:
            contributor = self._contributor(model_id)
            model_id = contributor.model_id
            known = model_id in self.config_manager.config_dict
            if not (known and not overwrite_existing_metadata) and not self.add_model_to_config(
                model_id,
                contributor.metadata,
                is_local_model,
                overwrite_existing_metadata,
                store_new_config,
            ):
                raise InputError(
                    f"The metadata of {model_id} is not valid.",
                    "add_metadata_from_file reads it from a metadata.json.",
                )
        samples = self.generate(
            model_id, num_samples, save_images=False, install_dependencies=install_dependencies
        )
        if not isinstance(samples, list) or len(samples) < num_samples:
            made = len(samples) if isinstance(samples, list) else samples
            raise PackageError(f"{model_id} was asked for {num_samples} samples and made {made}.")

    # -----------------------------------------------------------------------------------------
    # publishing: not as medigan does it
    def add_metadata_from_input(
        self,
        model_id: str,
        model_weights_name: str,
        model_weights_extension: str,
        generate_method_name: str,
        dependencies: list[str],
        fill_more_fields_interactively: bool = True,
        output_path: str = "config",
    ) -> dict[str, Any]:
        """Not available: medzoo has a file to fill in instead of questions.

        Parameters
        ----------
        model_id, model_weights_name, model_weights_extension, generate_method_name : str
            As in medigan.
        dependencies, fill_more_fields_interactively, output_path : object
            As in medigan.

        Raises
        ------
        NotAvailableError
            Always; names the new way.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().add_metadata_from_input("00042_MY_MODEL", "w", ".pt", "generate", [])
        Traceback (most recent call last):
        medzoo.errors.NotAvailableError: add_metadata_from_input is not available...
        """
        raise _not_available("add_metadata_from_input")

    def push_to_zenodo(
        self,
        model_id: str,
        zenodo_access_token: str,
        creator_name: str = "unknown name",
        creator_affiliation: str = "unknown affiliation",
        model_description: str = "",
    ) -> str:
        """Not available: ``medzoo contribute`` publishes a package after checking it.

        Parameters
        ----------
        model_id, zenodo_access_token, creator_name, creator_affiliation, model_description : str
            As in medigan.

        Raises
        ------
        NotAvailableError
            Always; names the new way.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().push_to_zenodo("00042_MY_MODEL", "")
        Traceback (most recent call last):
        medzoo.errors.NotAvailableError: push_to_zenodo is not available...
        """
        raise _not_available("push_to_zenodo")

    def push_to_github(
        self,
        model_id: str,
        github_access_token: str,
        package_link: str | None = None,
        creator_name: str = "",
        creator_affiliation: str = "",
        model_description: str = "",
    ) -> str:
        """Not available: ``medzoo contribute submit`` prepares a pull request.

        Parameters
        ----------
        model_id, github_access_token, package_link, creator_name, creator_affiliation : str
            As in medigan.
        model_description : str
            As in medigan.

        Raises
        ------
        NotAvailableError
            Always; names the new way.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().push_to_github("00042_MY_MODEL", "")
        Traceback (most recent call last):
        medzoo.errors.NotAvailableError: push_to_github is not available...
        """
        raise _not_available("push_to_github")

    def contribute(
        self,
        model_id: str,
        init_py_path: str,
        github_access_token: str,
        zenodo_access_token: str,
        metadata_file_path: str | None = None,
        model_weights_name: str | None = None,
        model_weights_extension: str | None = None,
        generate_method_name: str | None = None,
        dependencies: list[str] | None = None,
        fill_more_fields_interactively: bool = True,
        overwrite_existing_metadata: bool = False,
        output_path: str = "config",
        creator_name: str = "unknown name",
        creator_affiliation: str = "unknown affiliation",
        model_description: str = "",
        install_dependencies: bool = False,
    ) -> str:
        """Not available: ``medzoo contribute`` publishes a model in steps that can be repeated.

        Parameters
        ----------
        model_id, init_py_path, github_access_token, zenodo_access_token : str
            As in medigan.
        metadata_file_path, model_weights_name, model_weights_extension : str or None
            As in medigan.
        generate_method_name, dependencies, fill_more_fields_interactively : object
            As in medigan.
        overwrite_existing_metadata, output_path, creator_name, creator_affiliation : object
            As in medigan.
        model_description, install_dependencies : object
            As in medigan.

        Raises
        ------
        NotAvailableError
            Always; names the new way.

        Examples
        --------
        >>> from medzoo.medigan import Generators
        >>> Generators().contribute("00042_MY_MODEL", "mine/__init__.py", "", "")
        Traceback (most recent call last):
        medzoo.errors.NotAvailableError: contribute is not available...
        """
        raise _not_available("contribute")


def _not_available(method: str) -> NotAvailableError:
    return NotAvailableError(f"{method} is not available in medzoo.medigan.", f"{NEW_WAY} {TOKENS}")
