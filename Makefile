# Every target makes the virtual environment it needs; `make demo` and `make test` are all a newcomer has to know.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo demo-sae test fast slow check types format clean

demo: $(INSTALLED)
	$(BIN)/autolabel demo --fetch --out demo

demo-sae: $(INSTALLED)
	$(BIN)/autolabel train data/demo-sae.toml --out data/demo-sae --concepts data/concepts

test: fast slow

fast: $(INSTALLED)
	$(BIN)/pytest -q

slow: $(INSTALLED)
	$(BIN)/pytest -q -m slow --runslow

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q --cov --cov-report=term:skip-covered

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo,dev]"
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
