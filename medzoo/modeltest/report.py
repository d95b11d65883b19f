"""Findings: what a check saw, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import MedzooError

OK, WARNING, MISSING, WRONG = "ok", "warning", "missing", "wrong"


@dataclass(frozen=True)
class Finding:
    """What one check saw.

    Parameters
    ----------
    name
        What was checked.
    state
        ``ok``, ``warning``, ``missing`` or ``wrong``; the last two keep a model from being packed.
    text
        What was found.
    hint
        What to do about it.
    """

    name: str
    state: str
    text: str
    hint: str = ""

    @property
    def bars(self) -> bool:
        """Whether a model with this finding is not ready."""
        return self.state in {MISSING, WRONG}

    def __str__(self) -> str:
        line = f"{self.state:8s} {self.name:13s} {self.text}"
        return f"{line} -> {self.hint}" if self.hint else line


def judge(name: str, problem: str, ok: str, hint: str = "", state: str = WRONG) -> Finding:
    """``ok`` if there is no ``problem``; otherwise the problem with its hint."""
    return Finding(name, state, problem, hint) if problem else Finding(name, OK, ok)


def failure(name: str, error: Exception) -> Finding:
    """The finding for a check that ended with an error, on one line."""
    text, hint = f"{type(error).__name__}: {error}", ""
    if isinstance(error, MedzooError):
        text, hint = error.problem, error.hint
    return Finding(name, WRONG, " ".join(text.split()), " ".join(hint.split()))


@dataclass(frozen=True)
class Report:
    """All findings about one model; print it."""

    about: str
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing is missing or wrong."""
        return not self.open

    @property
    def open(self) -> tuple[Finding, ...]:
        """The findings that keep the model from being ready."""
        return tuple(f for f in self.findings if f.bars)

    def __str__(self) -> str:
        last = "Ready."
        if self.open:
            last = f"Not ready: {len(self.open)} of {len(self.findings)} checks."
        return "\n".join([self.about, "", *map(str, self.findings), "", last])
