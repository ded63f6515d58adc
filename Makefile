# The commands of the README. Each makes its virtual environment first if there is none.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench clean
.DEFAULT_GOAL := demo

demo: $(STAMP)  ## compare SimMIM, supervised and untrained, and write a report
	$(BIN)/mimprobe demo --output mimprobe-demo --overwrite

test: $(STAMP)  ## run the tests, one process with one thread for each core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

check: $(STAMP)  ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## time and memory: against the bare forward pass, by image, against other packages
	$(BIN)/python tests/benchmarks/probe_overhead.py
	$(BIN)/python tests/benchmarks/image_cost.py
	$(BIN)/python tests/benchmarks/cka_peers.py
	$(BIN)/python tests/benchmarks/train_step.py
	$(BIN)/python tests/benchmarks/readouts.py

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mimprobe needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another one with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## remove the virtual environment and what the demo wrote
	rm -rf $(VENV) mimprobe-demo
