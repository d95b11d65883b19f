"""The front door: public names, found when they are used; importing is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

import medzoo


def in_a_new_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()


def test_importing_brings_in_none_of_the_heavy_libraries() -> None:
    heavy = "torch numpy matplotlib PIL yaml tqdm safetensors packaging"
    loaded = in_a_new_python(
        f"import medzoo, sys; print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    assert loaded == "[]"


def test_listing_models_needs_neither_torch_nor_numpy() -> None:
    code = "import medzoo, sys; medzoo.list_models(), medzoo.cite(8); print([m for m in ('torch', 'numpy', 'matplotlib') if m in sys.modules])"
    assert in_a_new_python(code) == "[]"


def test_what_runs_in_a_model_s_process_needs_numpy_alone() -> None:
    code = """
import importlib, pathlib, sys

class Nothing:  # installed there but numpy
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {"medzoo", "numpy"} or top in sys.stdlib_module_names:
            return None
        raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nothing())
import medzoo._worker
for path in sorted(pathlib.Path(medzoo._worker.__file__).parent.glob("[a-z]*.py")):
    importlib.import_module(f"medzoo._worker.{path.stem}")
assert not hasattr(medzoo, "__wrapped__")
print("medzoo.checks" in sys.modules)
"""
    assert in_a_new_python(code) == "False"


@pytest.mark.parametrize("name", medzoo.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(medzoo, name) is not None
    assert name in dir(medzoo)
    assert name == "__version__" or callable(getattr(medzoo, name))


def test_importing_any_module_first_hides_no_public_name() -> None:
    code = "import medzoo, importlib; [importlib.import_module(f'medzoo.{m}') for m in medzoo._HOMES.values()]; "
    assert (
        in_a_new_python(
            code + "print(all(callable(getattr(medzoo, n)) for n in medzoo.__all__ if n[0] != '_'))"
        )
        == "True"
    )


def test_an_unknown_name_lists_the_public_ones() -> None:
    with pytest.raises(
        AttributeError,
        match=r"medzoo has no 'genrate'. Did you mean 'generate'\? It has MedzooError, .*generate, info",
    ):
        _ = medzoo.genrate
    with pytest.raises(ImportError, match="genrate"):
        from medzoo import genrate  # noqa: F401


def test_editors_see_the_same_names_as_python() -> None:
    tree = ast.parse((ROOT / "medzoo" / "__init__.py").read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {
        a.asname: n.module for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names
    }
    assert seen == medzoo._HOMES


def test_public_functions_say_what_they_take_and_give() -> None:
    for name in medzoo.__all__:
        assert name == "__version__" or (getattr(medzoo, name).__doc__ or "").strip(), name


def test_the_package_runs_as_a_module() -> None:
    assert medzoo.__version__ in in_a_new_python(
        "import runpy, sys; sys.argv = ['medzoo', '--version']; runpy.run_module('medzoo', run_name='__main__')"
    )


@pytest.mark.parametrize("name", ["errors", "medical", "study"])
def test_modules_that_users_need_are_attributes(name: str) -> None:
    code = f"import medzoo; print(medzoo.{name}.__name__, {name!r} in dir(medzoo))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [f"medzoo.{name}", "True"]
