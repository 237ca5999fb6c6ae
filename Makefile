# Each target makes its own environment first, so that any of them can be the first command on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-quick test-slow test-browser lint clean

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "torch>=2.10,<2.14"
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

demo: $(VENV)/ready
	$(BIN)/likewise demo

test: $(VENV)/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

# about 90 s on two cores: contracts, units and refusals, without whole runs and without processes of their own (tests/README.md)
test-quick: $(VENV)/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal --quick

test-slow: $(VENV)/ready
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest -q -m slow

# Chromium itself comes from the system: .ci/packages.txt
test-browser: $(VENV)/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[test,browser]"
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest -q -m browser

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV)
