"""Access tokens: from the environment or the keyring, never from an argument.

A token is not part of any message, log or file. `Token.hide` replaces it in texts of servers.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field

from ..errors import ContributionError

KEYRING = "medzoo"  # the name of the service in the keyring


@dataclass(frozen=True)
class Service:
    """A service that wants a token.

    Parameters
    ----------
    name
        As people call it.
    variable
        The environment variable with the token; in the keyring, the token has the same name.
    page
        Where tokens are made.
    scopes
        What the token must allow.
    """

    name: str
    variable: str
    page: str
    scopes: str

    @property
    def hint(self) -> str:
        """How to get a token and where to put it."""
        return (
            f"Make one at {self.page} with {self.scopes}. Then set {self.variable}, or store it "
            f"with `keyring set {KEYRING} {self.variable}` (pip install keyring)."
        )


@dataclass(frozen=True)
class Token:
    """A token; its value is not shown when it is printed."""

    service: Service
    value: str = field(repr=False)

    def hide(self, text: str) -> str:
        """A text without the token."""
        return text.replace(self.value, "[token]")


ZENODO = Service(
    "Zenodo",
    "ZENODO_TOKEN",
    "https://zenodo.org/account/settings/applications/tokens/new/",
    "the scopes deposit:write and deposit:actions",
)
ZENODO_SANDBOX = Service(
    "Zenodo's sandbox",
    "ZENODO_SANDBOX_TOKEN",
    "https://sandbox.zenodo.org/account/settings/applications/tokens/new/",
    "the scopes deposit:write and deposit:actions",
)
GITHUB = Service(
    "GitHub",
    "GITHUB_TOKEN",
    "https://github.com/settings/tokens/new?scopes=public_repo",
    "the scope public_repo",
)


def token(service: Service) -> Token:
    """The user's token for a service.

    Raises
    ------
    ContributionError
        There is none, or it has characters that no token has.
    """
    value = (os.environ.get(service.variable) or _from_keyring(service.variable)).strip()
    if not value:
        raise ContributionError(f"There is no token for {service.name}.", service.hint)
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise ContributionError(
            f"{service.variable} holds characters that are not part of a token.",
            "Copy the token again, without quotes and line breaks.",
        )
    return Token(service, value)


def _from_keyring(name: str) -> str:
    """The password of a name in the system's keyring; empty if there is none."""
    with suppress(Exception):  # no keyring installed, none on this system, or it stays locked
        import keyring

        return keyring.get_password(KEYRING, name) or ""
    return ""
