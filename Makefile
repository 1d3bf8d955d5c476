# evenface: `make demo` shows what it does, `make test` proves it. Both set up `.venv` on first use.
PYTHON ?= python3
REFERENCE_PYTHON ?= $(PYTHON)
VENV   := .venv
BIN    := $(VENV)/bin
TRAIN  := $(VENV)/.installed-train
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: setup demo test test-slow lint docs benchmarks model clean

setup: $(STAMP)

# torch goes first and alone: a plain request for it inside a larger install may pull the CUDA build.
$(TRAIN): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "evenface needs Python 3.11 or newer; run make PYTHON=python3.11")'
	@echo "Installing evenface into $(VENV) (once, about two minutes)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) --editable '.[train]'
	touch $(TRAIN)

$(STAMP): $(TRAIN)
	@echo "Installing what tests and documentation need (once, a few minutes)"
	$(PIP) --editable '.[dev]'
	touch $(STAMP)

demo: $(TRAIN)
	$(BIN)/evenface demo

test: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -q

# MediaPipe itself, to compare with, needs an older Python and protobuf: it has an environment of its own.
test-slow: $(STAMP)
	test -x .venv-mediapipe/bin/python || $(REFERENCE_PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/python -m pip install --quiet --disable-pip-version-check -r tools/mediapipe-reference.txt
	EVENFACE_REFERENCE=$(CURDIR)/.venv-mediapipe/bin/python $(BIN)/python -m pytest -n 2 -q -m slow

lint: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/mypy

docs: $(STAMP)
	rm -rf docs/api/generated
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo docs/_build/html/index.html

# Draws and trains the bundled model again: about an hour on two cores. FER2013=FOLDER measures it on real faces.
model: $(TRAIN)
	$(BIN)/python -m tools.make_model runs/evenface-synthetic $(if $(FER2013),--fer2013 $(FER2013))

benchmarks: $(STAMP)
	$(BIN)/python -m benchmarks.speed

clean:
	rm -rf $(VENV) .venv-mediapipe docs/_build
