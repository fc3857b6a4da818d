# The one vocabulary: people and CI type the same targets. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
BUILD ?= build
PORT ?= 8080
# What pip is given besides, for example an index that has the CPU build of torch.
PIP_ARGS ?=

DEFAULT_CHECKPOINT := model/weights/deeplabv3_mobilenet_v2_voc.safetensors
MODEL_CONFIG ?= handler/model-config.yaml
NAME ?= deeplabv3
URL ?= http://127.0.0.1:$(PORT)/predictions/$(NAME)

ifdef MODEL
CHECKPOINT ?= $(BUILD)/checkpoints/$(MODEL).safetensors
endif
CHECKPOINT ?= $(DEFAULT_CHECKPOINT)
# The default checkpoint must agree with the index_to_name.json that is in the repository.
PACKAGE_ARGS := $(if $(filter $(DEFAULT_CHECKPOINT),$(CHECKPOINT)),--class-names index_to_name.json)

BIN := $(VENV)/bin
RUN := $(BIN)/python -m
ARCHIVE := $(BUILD)/model-store/$(NAME).mar
SERVER := $(RUN) scripts.server --run-directory $(BUILD)/server
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo serve stop smoke package check fast test bench fuzz lint format clean

help:  ## List the targets
	@echo "make TARGET [VARIABLE=value ...]"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PORT=$(PORT)            of inference; the next four are used too"
	@echo "  CHECKPOINT=...       a checkpoint to package and serve ($(CHECKPOINT))"
	@echo "  MODEL=...            instead, one of torchvision's: deeplabv3_resnet50, deeplabv3_resnet101, deeplabv3_mobilenet_v3_large"
	@echo "  MODEL_CONFIG=...     workers, batching and limits ($(MODEL_CONFIG))"
	@echo "  PYTHON=... VENV=... BUILD=... PIP_ARGS=...   interpreter, folders, options for pip"

setup: $(INSTALLED)  ## Make the virtual environment, with Java if there is none

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
	    { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), this needs Python 3.10 to 3.12: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV); the first time this takes minutes"
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt $(PIP_ARGS) '.[dev]'
	$(RUN) scripts.java --install
	@touch $@

demo: package  ## Serve the model, segment two photographs with curl, show the results, stop
	@$(RUN) scripts.demo --archive $(ARCHIVE) --samples $(BUILD)/samples --out $(BUILD)/demo --port $(PORT) --run-directory $(BUILD)/server

serve: package  ## Start the server; returns when it is READY
	@$(RUN) scripts.samples $(BUILD)/samples >/dev/null
	@$(SERVER) start --archive $(ARCHIVE) --port $(PORT)

stop: setup  ## Stop the server that `make serve` started
	@$(SERVER) stop

smoke: setup  ## Check with curl that the server at URL answers as it should
	@$(RUN) scripts.samples $(BUILD)/samples >/dev/null
	@scripts/smoke.sh $(URL) $(BUILD)/samples/chelsea.jpg

package: setup $(if $(MODEL),$(CHECKPOINT))  ## Build the archive and prove that it works by itself
	@$(RUN) scripts.package --checkpoint $(CHECKPOINT) --model-config $(MODEL_CONFIG) --name $(NAME) --out $(BUILD)/model-store $(PACKAGE_ARGS)

$(BUILD)/checkpoints/%.safetensors: | setup
	@$(RUN) scripts.import_weights torchvision:$* --out $@

# Tests are spread over processes; what shares a server or an expensive fixture stays together.
PROCESSES ?= 2
TEST := $(RUN) pytest -q --numprocesses $(PROCESSES) --dist loadgroup

check: setup  ## Run lint, types and the fast tests, in under a minute
	@$(MAKE) --no-print-directory -j 2 lint fast

# The limit is three times what the marker `slow` means.
fast: setup
	$(TEST) -m "not slow" --fast-limit 3 --hypothesis-profile few tests/unit

test: lint $(VENV)/.crf $(VENV)/.consumers  ## Run every check: lint, types, unit, packaging and live tests
	$(TEST)

# The one dependency that is compiled; where it cannot be, its tests are skipped and say so.
$(VENV)/.crf: $(INSTALLED)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt $(PIP_ARGS) '.[crf]' && touch $@ || \
	    echo "the extra 'crf' cannot be compiled here; its tests will be skipped" >&2

# Half a gigabyte that no user of the bundle needs.
$(VENV)/.consumers: $(INSTALLED)
	@echo "installing annotation tools, for the tests of the exports"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt $(PIP_ARGS) '.[consumers]' && touch $@ || \
	    echo "the extra 'consumers' cannot be installed here; its tests will be skipped" >&2

bench: setup  ## Measure this bundle beside TorchServe's own handler; leave the machine alone meanwhile (build/bench)
	$(RUN) benchmarks.serving --out $(BUILD)/bench

SEED ?= $(shell date +%s)
fuzz: setup  ## Try 100,000 broken inputs and 5,000 live requests (SEED=...), and measure the memory of the largest images
	$(RUN) pytest tests/fuzz tests/live/test_fuzz.py --fuzz 100000 --fuzz-requests 5000 --fuzz-seed $(SEED) --fuzz-folder $(BUILD)/fuzz
	@cat $(BUILD)/fuzz/memory.csv
	@$(RUN) benchmarks.largest_images --out $(BUILD)/fuzz/memory.json

lint: setup  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(RUN) mypy

format: setup  ## Put the code into the one format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:  ## Remove everything that was built, except the virtual environment
	rm -rf $(BUILD) .mypy_cache .pytest_cache .ruff_cache .hypothesis logs
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
