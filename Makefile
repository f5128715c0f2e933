# Each target sets itself up: a virtual environment in .venv, nothing outside it.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2 # processes that run the tests

.PHONY: train test test-slow lint format clean

# Train on the embedded displays, evaluate, export, and draw one held-out display.
train: .venv/installed
	$(BIN)/python train.py --epochs 10
	$(BIN)/python evaluate.py
	$(BIN)/keras-salnet predict --force --model "$$(ls -td runs/*/ | head -n 1)" \
	  "$$($(BIN)/python -c 'from keras_salnet.data import popout; print(popout.folder())')/images/test/test_0000.jpg"

# What a file's tests share is made once, by the one worker that runs them.
test: lint
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

test-slow: .venv/installed-test
	$(BIN)/python -m pytest -m slow --numprocesses $(WORKERS) --dist loadfile

lint: .venv/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: .venv/installed-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[tensorboard]'
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/pip install --quiet --editable '.[tensorboard,test]'
	$(BIN)/pip install --quiet --no-deps pysodmetrics==1.4.3 # asks for numpy 1.18, runs with 2
	# The CPU build alone, where the package index has it: others are several GB.
	$(BIN)/pip install --quiet torch==2.13.0+cpu || \
	  echo "PyTorch 2.13.0+cpu is not in this package index: its tests will be skipped."
	touch $@
