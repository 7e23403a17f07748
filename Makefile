# Needs Python 3.11 to 3.13, pip and make; everything else goes into .venv, made once and reused.
# Variables: PYTHON (the interpreter .venv is made with), VENV, JOBS (processes of test, 2 unless given), ARGS (added to the
# command of test, docs, demo and demo-train), INFERENCE and TRAINING (to those of bench), FUZZ_SECONDS (of fuzz, 300).

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.tgjar-setup
# Lies in a .venv made here until its set-up has ended: one that was interrupted is made afresh.
PENDING := $(VENV)/.tgjar-setup-pending
PIP := $(BIN)/python -m pip --disable-pip-version-check
JOBS ?= 2
ARGS ?=
FUZZ_SECONDS ?= 300

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-train test fuzz lint docs docs-serve bench clean

help:  ## this list
	@echo 'make TARGET [PYTHON=python3.12] [VENV=.venv] [ARGS=...]'
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  \1	\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP)  ## make .venv with everything in it (about 4 minutes and 6 GB, once)

demo: $(STAMP)  ## restore photographs with the shipped weights and draw the result (less than a minute)
	$(BIN)/tgjar demo $(ARGS)

demo-train: $(STAMP)  ## the same with a small model trained on them before (CPU, at most 8 minutes)
	$(BIN)/tgjar demo --train $(ARGS)

test: $(STAMP)  ## run the tests (at most 10 minutes on 2 cores); ARGS="-m 'not slow'" leaves out the long ones
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal $(ARGS)

fuzz: $(STAMP)  ## try files that nobody would make, for FUZZ_SECONDS (300); a short run of it is among the tests
	FUZZ_SECONDS=$(FUZZ_SECONDS) OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest tests/fuzz $(ARGS)

lint: $(STAMP)  ## check style with ruff and types with mypy (the first time some minutes)
	$(BIN)/python -m ruff check .
	@mkdir -p .mypy_cache/links/tgjar_arch
	@ln -sfn '$(CURDIR)/datasets' '$(CURDIR)/losses' .mypy_cache/links/tgjar_arch
	$(BIN)/python -m mypy

docs: $(STAMP)  ## build the documentation into site/; a broken link or a missing name is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet $(ARGS)
	@echo 'Open site/index.html, or run make docs-serve'

docs-serve: $(STAMP)  ## show the documentation at http://127.0.0.1:8000, and follow changes
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve $(ARGS)

bench: $(STAMP)  ## inference and training measured (an hour); each is `python -m benchmarks.NAME`, as others in benchmarks/
	$(BIN)/python -m benchmarks.inference $(INFERENCE)
	$(BIN)/python -m benchmarks.training $(TRAINING)

clean:  ## remove build files and caches; .venv, data and results stay
	rm -rf build dist site tgjar.egg-info .mypy_cache .pytest_cache .ruff_cache
	find tgjar_arch datasets losses options tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A name on the PATH may exist and not run (version managers), or lack venv (some Linux packages): each is tried.
define find_python
	suits() { "$$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		>/dev/null 2>&1; }; \
	found=; \
	if [ -n "$(PYTHON)" ]; then \
		suits "$(PYTHON)" && found="$(PYTHON)"; \
	else \
		IFS=:; \
		for name in python3.12 python3.11 python3.13 python3 python; do for folder in $$PATH; do \
			[ -z "$$found" ] && [ -x "$$folder/$$name" ] && suits "$$folder/$$name" && found="$$folder/$$name"; \
		done; done; unset IFS; \
	fi; \
	if [ -z "$$found" ]; then \
		echo 'No Python 3.11, 3.12 or 3.13 with venv was found$(if $(PYTHON), at PYTHON=$(PYTHON)). Install one' \
			'(Debian and Ubuntu: python3.11 and python3.11-venv), or name it: make setup PYTHON=/path/to/python3.11' >&2; \
		exit 1; \
	fi
endef

$(STAMP): setup.py constraints.txt
	@if [ -e $(PENDING) ]; then echo 'The last set-up was interrupted: starting afresh'; rm -rf $(VENV); fi
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		$(find_python); \
		echo "[1/4] $(VENV) with $$("$$found" --version) ($$found)"; \
		clear=; if [ -e $(VENV)/pyvenv.cfg ]; then clear=--clear; fi; \
		mkdir -p $(VENV) && touch $(PENDING) && "$$found" -m venv $$clear $(VENV) && touch $(PENDING); \
	fi
	@echo '[2/4] build tools'
	@$(PIP) install --quiet --constraint constraints.txt 'setuptools<82' wheel
	@echo '[3/4] TGJAR and its requirements: some GB to download the first time, 6 GB on disk, a few minutes'
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@echo '[4/4] BasicSR, without its requirement tb-nightly, which some package mirrors lack'
	$(BIN)/tgjar doctor --fix
	@rm -f $(PENDING) && touch $@
