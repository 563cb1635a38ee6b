# Everything that these need, they install: into .venv, from pyproject.toml.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Pip takes three times as long.
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

.PHONY: demo test browser themes unit versions databases full torture stores bench lint types contract migrations check messages lock clean

demo: $(VENV)/.installed
	@$(BIN)/python -m panel_site.demo $(if $(DIR),--dir "$(DIR)") $(if $(KEEP),--keep)

test: $(VENV)/.installed
	@$(BIN)/python -m pytest -n 3 --dist worksteal -m "not torture and not sampled and not browser"

# The admin in a chromium.
browser: $(VENV)/.installed
	@REQUIRE_BROWSER=1 $(BIN)/python -m pytest -q -n 3 --dist worksteal -m browser tests/admin

# The same in each of the themes that are supported.
themes: browser
	@ADMIN_THEME=unfold $(BIN)/python -m pytest -q -n 3 --dist worksteal -m browser tests/admin
	@ADMIN_THEME=jazzmin $(BIN)/python -m pytest -q -n 3 --dist worksteal -m browser tests/admin

unit: $(VENV)/.installed
	@$(BIN)/python -m pytest tests/unit

versions: $(VENV)/.versioning
	@$(BIN)/nox $(if $(SESSIONS),--sessions $(SESSIONS))

# PostgreSQL and MariaDB, until Ctrl-C.
databases: $(VENV)/.databases
	@$(BIN)/python -m tests.support.databases

torture: $(VENV)/.installed
	@$(BIN)/python -m pytest -m torture -s

stores: $(VENV)/.stocked
	@$(BIN)/python -m tests.storage.stores

# Everything that .ci/run leaves out; hours. ONLY=stores,themes runs some of it.
full: $(VENV)/.databases $(VENV)/.versioning $(VENV)/.stocked $(VENV)/.benching
	@ONLY="$(ONLY)" $(BIN)/python -m tests.full

bench: $(VENV)/.benching
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

lint: $(VENV)/.linting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/typos

types: $(VENV)/.linting
	@$(BIN)/mypy

contract: $(VENV)/.linting
	@$(BIN)/lint-imports

migrations: $(VENV)/.installed
	@$(BIN)/python manage.py makemigrations --check --dry-run

check: lint types contract migrations

# Brings the catalogues up to date with the code, and compiles them; needs gettext.
messages: $(VENV)/.installed
	@cd backups_remote && ../$(BIN)/django-admin makemessages --all --no-location --no-wrap --no-obsolete
	@cd backups_remote && ../$(BIN)/django-admin compilemessages

# The versions that development and CI run on; the package itself asks for lower bounds alone.
lock: $(VENV)/.linting
	@$(BIN)/uv pip compile pyproject.toml --group dev --group stores --group databases \
		--group bench --group versions --universal --python-version 3.11 --no-annotate --upgrade \
		--quiet --custom-compile-command "make lock" --output-file constraints.txt

clean:
	rm -rf $(VENV) .nox .trixie var build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt Makefile
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (make PYTHON=python3.13 ...)."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@PYTHONWARNINGS=ignore $(INSTALL) --group test --editable .
	@touch $@

$(VENV)/.benching $(VENV)/.stocked $(VENV)/.databases $(VENV)/.versioning $(VENV)/.linting: $(VENV)/.installed
	@$(INSTALL) --group $(GROUP)
	@touch $@

$(VENV)/.benching: GROUP = bench
$(VENV)/.stocked: GROUP = stores
$(VENV)/.databases: GROUP = databases
$(VENV)/.versioning: GROUP = versions
$(VENV)/.linting: GROUP = lint
