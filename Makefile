# Everything that these need, they install: into .venv, from pyproject.toml.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test torture bench lint types contract migrations check clean

demo: $(VENV)/.installed
	@$(BIN)/python -m panel_site.demo $(if $(DIR),--dir "$(DIR)") $(if $(KEEP),--keep)

test: $(VENV)/.installed
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not torture"

torture: $(VENV)/.installed
	@$(BIN)/python -m pytest -m torture -s

bench: $(VENV)/.benching
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

lint: $(VENV)/.linting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.linting
	@$(BIN)/mypy

contract: $(VENV)/.linting
	@$(BIN)/lint-imports

migrations: $(VENV)/.installed
	@$(BIN)/python manage.py makemigrations --check --dry-run

check: lint types contract migrations

clean:
	rm -rf $(VENV) var build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (make PYTHON=python3.12 ...)."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --group test --editable .
	@touch $@

$(VENV)/.benching: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@touch $@

$(VENV)/.linting: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group lint
	@touch $@
