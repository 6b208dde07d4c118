# Two commands on a machine with Python 3.11 (to 3.13) and make: `make demo` and `make test`.
# Each installs what it needs into .venv the first time.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
  && echo $$p && break; done)
VENV := .venv
PY := $(VENV)/bin/python

# What is installed depends on these; when one changes, the stamp has another name and the
# installation is brought up to date. The folder counts because an editable install points at it.
KEY := $(shell ($(or $(PYTHON),false) --version; pwd; cat pyproject.toml constraints.txt) 2>&1 | cksum | tr ' ' '-')
STAMP := $(VENV)/installed-$(KEY)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-keops examples docs lint format clean

help:
	@echo 'make demo        solve a high-frequency PDE with a Gaussian process and draw it'
	@echo 'make test        run the tests'
	@echo 'make lint        check format, style, types and the layers'
	@echo 'make test-keops  run the tests that compile KeOps formulas (minutes)'
	@echo 'make examples    run every script in examples/'
	@echo 'make docs        build the documentation into docs/build/html (the examples run)'
	@echo 'make format      format the code'
	@echo 'make clean       remove .venv and everything generated'

install: $(STAMP)

demo: $(STAMP)
	@$(PY) -m kernelgp.cli solve poisson-2d-sin100 --grid 400 --out demo --name poisson2d

test: $(STAMP)
	@OMP_NUM_THREADS=1 KERNELGP_PROGRESS=0 $(PY) -m pytest -q -n 2 -m 'not keops'

test-keops: $(STAMP)
	@OMP_NUM_THREADS=1 KERNELGP_PROGRESS=0 $(PY) -m pytest -q -m keops

examples: $(STAMP)
	@mkdir -p demo
	@for script in examples/*.py; do \
	  echo "== $$script"; (cd demo && ../$(PY) ../$$script) || exit 1; done

docs: $(STAMP)
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@rm -rf docs/api/generated docs/gallery docs/build
	@OMP_NUM_THREADS=1 $(PY) -m sphinx -q -W --keep-going -b html docs docs/build/html
	@echo 'docs/build/html/index.html'

lint: $(STAMP)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(VENV)/bin/basedpyright
	@$(VENV)/bin/lint-imports --no-logo

format: $(STAMP)
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean:
	rm -rf $(VENV) demo results runs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find kernelgp solvers experiments tests examples -name __pycache__ -prune -exec rm -rf {} +

# The stamp is written last, so a failed or interrupted installation is tried again.
$(STAMP):
	@test -n '$(PYTHON)' || { echo 'kernelgp needs Python 3.11, 3.12 or 3.13; none was found (make PYTHON=... names one).' >&2; exit 1; }
	@echo 'Installing into $(VENV) (the first time: a minute or two, about 1.4 GB) ...'
	@test "$$($(PY) -V 2>&1)" = "$$($(PYTHON) -V)" && $(PY) -m pip --version >/dev/null 2>&1 \
	  || $(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@rm -f $(VENV)/installed-*
	@touch $@
