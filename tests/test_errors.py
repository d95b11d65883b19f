"""Errors: one tree, a code each, and they survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from medzoo import errors
from medzoo.errors import InputError, MedzooError, ModelNotFoundError

TREE = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, MedzooError)]


@pytest.mark.parametrize("kind", TREE)
def test_an_error_survives_pickling_with_problem_and_hint(kind: type[MedzooError]) -> None:
    error = pickle.loads(pickle.dumps(kind("no such thing", "try another")))
    assert type(error) is kind
    assert (error.problem, error.hint, str(error)) == (
        "no such thing",
        "try another",
        "no such thing\ntry another",
    )


def test_an_error_without_a_hint_prints_one_line() -> None:
    assert str(MedzooError("broken")) == "broken"


def test_every_error_has_an_exit_code_of_its_own_that_the_docstring_states() -> None:
    codes = {e.__name__: e.exit_code for e in TREE}
    assert len(set(codes.values())) == len(TREE)
    assert 0 not in codes.values()
    stated = {
        line.split()[1]: line.split()[2]
        for line in (errors.__doc__ or "").splitlines()
        if line.strip().startswith("x ")
    }
    assert stated == {name: str(code) for name, code in codes.items() if name != "MedzooError"}


def test_errors_are_what_python_calls_them_too() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(ModelNotFoundError, LookupError)
