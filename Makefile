# `make demo` and `make test` need python3 (3.11 or newer) and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

SUITE ?= reports
ON = $(if $(DATA),--data $(DATA))

.PHONY: help demo results test lint types conda lock clean

help:                       ## what there is to make
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' Makefile

demo: $(VENV)/.installed    ## install, run the demo suite, print the table and where to look
	$(BIN)/pipeline run demo

test: $(VENV)/.dev          ## install, pass the tests
	$(BIN)/python -m pytest

results: $(VENV)/.installed ## run SUITE (on DATA, with OPTIONS), publish it in experiments/results, show it in the README
	$(BIN)/pipeline run $(SUITE) $(ON) $(OPTIONS)
	$(BIN)/pipeline report --suite $(SUITE) $(ON) --publish
	$(BIN)/pipeline export experiments/results/$(basename $(notdir $(SUITE)))/runs.zip --suite $(SUITE) $(ON) --publish
	$(BIN)/python docs/results.py $(SUITE)

lint: $(VENV)/.dev          ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/conda_yaml.py --check

types: $(VENV)/.dev         ## static types
	$(BIN)/mypy
	$(BIN)/mypy benchmarks docs .ci  # apart: scripts import each other from their own folder

conda: $(VENV)/.dev         ## write conda.yaml from pyproject.toml and constraints.txt
	$(BIN)/python .ci/conda_yaml.py

lock: $(VENV)/.dev          ## write constraints.txt: the versions that were tested together
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --upgrade --no-header --no-annotate --quiet \
		--constraint .ci/versions.txt | grep -v -e '^nvidia-' -e '^triton' > constraints.tmp
	mv constraints.tmp constraints.txt

clean:                      ## remove the virtual environment (results stay)
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Error: $(PYTHON) must be Python 3.11 or newer; name one: make demo PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed
