# `make demo` and `make test` work on a fresh machine with Python 3.10 or later; see README.md for the same without make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := $(VENV)/.demo
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
	--constraint constraints.txt --excludes .ci/cuda.txt --no-emit-package torch
TORTURE ?= $(if $(FULL),100,10),$(if $(FULL),240,60),$(if $(FULL),2400,600)
BRAIN ?= ../shared/data/brain_t1ce_cheng_256.zip

.PHONY: demo test torture bench compare-brain lint lock docs clean

demo: $(DEMO)  ## generate from model 8 and show a contact sheet
	@echo "generating 32 samples of model 8"
	$(BIN)/python examples/demo.py

test: $(READY)  ## run every test, on all cores
	$(BIN)/python -m pytest --numprocesses logical --dist loadfile --durations 10

torture: $(READY)  ## kills, random input and mixed use for half an hour; FULL=1 takes two hours; a stopped run continues
	TORTURE=$(TORTURE) $(BIN)/python -m pytest --numprocesses logical tests/test_torture.py; [ $$? -le 1 ]
	$(BIN)/python tests/torture.py report

bench: $(READY)  ## measure against the bar, or against an older build: make bench AGAINST=COMMIT
	$(BIN)/python -m benchmarks$(if $(AGAINST),.history $(AGAINST))

compare-brain: $(READY)  ## GAN against diffusion against VAE on brain MRI; BRAIN is the data set
	$(BIN)/python -m benchmarks.brain $(BRAIN)

lint: $(READY)  ## style, types, digests, and docs that drift
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python starter_models/register.py --check
	$(BIN)/python model_configs/lock.py --check
	$(BIN)/python docs/generate.py --check

lock: $(READY)  ## write what the workflows install, with hashes; what is pinned is kept where it still fits
	$(LOCK) --python-version 3.10 pyproject.toml --output-file .ci/requirements.txt
	$(LOCK) --python-version 3.10 pyproject.toml --extra dev --output-file .ci/requirements-dev.txt
	echo "numpy<1.25" | $(LOCK) --python-version 3.8 - --output-file .ci/requirements-python38.txt

docs: $(READY)  ## write the generated pages again, and build the site: build/site/index.html
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open build/site/index.html"

clean:  ## remove what was built
	rm -rf $(VENV) build dist demo *.egg-info

# torch goes in first and alone, so that nothing pulls another build of it.
$(DEMO): pyproject.toml setup.cfg constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing torch (about 200 MB) and medzoo into $(VENV)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $(DEMO)

$(READY): $(DEMO)
	@echo "installing what the tests need"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)
