# The project's commands, the same for people and CI. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
BUILD ?= build
PORT ?= 8080
# The server that `make serve` starts: torchserve, or asgi, this project's own, which needs no Java.
SERVER ?= torchserve
# More options for asgi, listed by `python MODEL.mar --help`: SERVE_ARGS="--tokens tokens".
SERVE_ARGS ?=
# TorchServe's settings: keys, TLS, limits.
TS_CONFIG ?= config.properties
# The build of PyTorch: auto (CPU on Linux without an NVIDIA driver), cpu or cuda.
TORCH ?= auto
# More options for pip, for example another index.
PIP_ARGS ?=

DEFAULT_CHECKPOINT := model/weights/deeplabv3_mobilenet_v2_voc.safetensors
MODEL_CONFIG ?= handler/model-config.yaml
NAME ?= deeplabv3
URL ?= http://127.0.0.1:$(PORT)/predictions/$(NAME)

ifdef MODEL
ifdef MODELS
$(error MODEL=$(MODEL) and MODELS=$(MODELS): give one; MODELS are some of objects, scenes and streets)
endif
ifneq ($(filter objects scenes streets,$(MODEL)),)
$(error MODEL=$(MODEL): MODEL names models of torchvision; this one is included: MODELS=$(MODEL))
endif
CHECKPOINT ?= $(BUILD)/checkpoints/$(MODEL).safetensors
endif
CHECKPOINT ?= $(DEFAULT_CHECKPOINT)
# A folder of photographs like those to be served, as the reference for drift (docs/telemetry.md).
REFERENCE ?=
# The side in pixels to which images are resized, instead of the checkpoint's (docs/performance.md has a curve).
SIZE ?=
# The default checkpoint must agree with the repository's index_to_name.json.
PACKAGE_ARGS := $(if $(filter $(DEFAULT_CHECKPOINT),$(CHECKPOINT)),--class-names index_to_name.json)

BIN := $(VENV)/bin
RUN := $(BIN)/python -m
PACKAGE := $(RUN) scripts.package --model-config $(MODEL_CONFIG) --out $(BUILD)/model-store $(if $(REFERENCE),--reference $(REFERENCE)) $(if $(SIZE),--size $(SIZE))
ARCHIVE := $(BUILD)/model-store/$(NAME).mar
# This repository's checkpoints to package, each under its own name: MODELS="objects scenes streets".
MODELS ?=
# Models that `make demo` shows in addition to the default one.
DEMO_MODELS ?= $(if $(and $(filter $(DEFAULT_CHECKPOINT),$(CHECKPOINT)),$(filter $(ARCHIVE),$(ARCHIVES))),scenes streets)
archives = $(patsubst %,$(BUILD)/model-store/%.mar,$(1))
# The archives that `make serve` and `make demo` serve, from one server if there are several.
ARCHIVES ?= $(if $(MODELS),$(call archives,$(MODELS)),$(ARCHIVE))
# The target that builds these archives, unless others are named.
PACKAGED := $(if $(or $(MODELS),$(filter $(ARCHIVE),$(ARCHIVES))),package,setup)
SERVERS := $(RUN) scripts.server --run-directory $(BUILD)/server
INSTALLED := $(VENV)/.installed
TORCH_INSTALLED := $(VENV)/.torch-$(TORCH)
PIP_INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check --no-compile -c constraints.txt $(PIP_ARGS)

ifneq ($(filter-out auto cpu cuda,$(TORCH)),)
$(error TORCH=$(TORCH) is unknown; use auto, cpu or cuda)
endif

# Without bytecode files every process recompiles its imports: ten seconds for PyTorch.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo serve stop smoke package check fast test test-all bench drill soak sbom fuzz page lint format clean

help:  ## List the targets and variables
	@echo "make TARGET [VARIABLE=value ...]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PORT=$(PORT)            the inference port; the next four ports are used too"
	@echo "  SERVER=$(SERVER)    the server: torchserve, or asgi, which needs no Java"
	@echo "  SERVE_ARGS=...       more options for asgi: tokens, TLS, origins, limits (docs/server.md)"
	@echo "  CHECKPOINT=...       the checkpoint to package and serve ($(CHECKPOINT))"
	@echo "  MODEL=...            or a torchvision model: deeplabv3_resnet50, deeplabv3_resnet101, deeplabv3_mobilenet_v3_large"
	@echo "  MODELS=...           or one or more of objects, scenes and streets: MODELS=\"objects scenes streets\""
	@echo "  SIZE=...             the side in pixels to which images are resized, instead of the checkpoint's (docs/performance.md)"
	@echo "  ARCHIVES=...         archives to serve instead, all from one folder; one server serves them all"
	@echo "  MODEL_CONFIG=...     workers, batching and limits ($(MODEL_CONFIG))"
	@echo "  TORCH=...            the build of PyTorch: auto, cpu or cuda ($(TORCH))"
	@echo "  PYTHON=... VENV=... BUILD=... PIP_ARGS=...   the interpreter, folders, options for pip"

setup: $(INSTALLED) $(TORCH_INSTALLED)  ## Create the virtual environment; add a Java runtime if none is found

# $(call check_python,INTERPRETER,ADVICE)
define check_python
@$(1) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || \
	{ echo "$(1) is $$($(1) -V 2>&1); this needs Python 3.11 to 3.14: $(2)" >&2; exit 1; }
endef

$(BIN)/pip:
	$(call check_python,$(PYTHON),make PYTHON=python3.13 ...)
	$(PYTHON) -m venv $(VENV)

$(TORCH_INSTALLED): pyproject.toml | $(BIN)/pip
	$(call check_python,$(BIN)/python,remove $(VENV) and try again)
	@echo "installing into $(VENV); this takes minutes the first time"
	@$(RUN) scripts.install_torch --build $(TORCH) -- $(PIP_ARGS)
	@rm -f $(VENV)/.torch-*
	@touch $@

$(INSTALLED): pyproject.toml constraints.txt | $(TORCH_INSTALLED)
	@$(PIP_INSTALL) '.[dev]'
	@$(RUN) scripts.java --install
	@touch $@

demo: $(PACKAGED)  ## Start a server of three models, segment four photographs with curl, print the results, stop the server
	@$(if $(DEMO_MODELS),$(PACKAGE) $(addprefix --model ,$(DEMO_MODELS)))
	@$(RUN) scripts.demo --server $(SERVER) $(addprefix --archive ,$(ARCHIVES) $(call archives,$(DEMO_MODELS))) --samples $(BUILD)/samples --out $(BUILD)/demo --port $(PORT) --run-directory $(BUILD)/server

serve: $(PACKAGED)  ## Start the server and return when it is READY (SERVER=asgi: without Java)
	@$(RUN) scripts.samples $(BUILD)/samples >/dev/null
	@$(SERVERS) start --server $(SERVER) $(addprefix --archive ,$(ARCHIVES)) --port $(PORT) --ts-config $(TS_CONFIG) $(SERVE_ARGS)

stop: setup  ## Stop the server that `make serve` started
	@$(SERVERS) stop

smoke: setup  ## Check the server at URL with curl
	@$(RUN) scripts.samples $(BUILD)/samples >/dev/null
	@scripts/smoke.sh $(URL) $(BUILD)/samples/chelsea.jpg

package: setup $(if $(MODEL),$(CHECKPOINT))  ## Build the archive and test it outside this repository
	@$(PACKAGE) $(if $(MODELS),$(addprefix --model ,$(MODELS)),--checkpoint $(CHECKPOINT) --name $(NAME) $(PACKAGE_ARGS))

$(BUILD)/checkpoints/%.safetensors: | setup
	@$(RUN) scripts.import_weights torchvision:$* --out $@

# Tests run in parallel processes; tests that share a server stay together, in the order set by tests/conftest.py.
PROCESSES ?= 2
# Waiting OpenMP threads sleep: spinning, as by default, would take the cores from the threads they wait for.
TEST = OMP_WAIT_POLICY=PASSIVE $(RUN) pytest -q --numprocesses $(PROCESSES) --dist loadgroup --no-loadscope-reorder

check: setup  ## Run style checks, types and the fast tests
	@$(MAKE) --no-print-directory -j 3 lint fast

# Two halves of about equal duration, each importing only what it tests: collecting all tests takes ten seconds. The time limit
# is ten times that of the marker `slow`, since processors differ.
FAST = $(RUN) pytest -q -m "not slow" --fast-limit 5 --hypothesis-profile few
.PHONY: fast-handler fast-programs
fast: fast-handler fast-programs
fast-handler: setup
	$(FAST) tests/unit/handler

fast-programs: setup
	$(FAST) tests/unit --ignore tests/unit/handler

# The environments are installed in parallel; pip, which installs the largest, uses one core, so style and types are checked on
# the other. Of three test processes one is mostly waiting for a server. They need 10 GB.
test:  ## Run every check: style, types, unit, packaging, live and fuzz tests
	@$(MAKE) --no-print-directory -j 3 $(VENV)/.crf $(VENV)/clients/.installed page/node_modules/.installed lint
	@$(MAKE) --no-print-directory pytest

test-all: setup  ## Run every check, with the exhaustive tests and twenty times as many generated examples
	@$(MAKE) --no-print-directory test PYTEST_ARGS='--exhaustive --hypothesis-profile many --fuzz 5000'

.PHONY: pytest
pytest: PROCESSES = 3
pytest: setup $(VENV)/.compiled
	$(TEST) $(PYTEST_ARGS)

# pip compiles no package, because most are never imported. One process compiles what tests import; three would each do so.
$(VENV)/.compiled: $(INSTALLED)
	@$(RUN) pytest -q --collect-only >/dev/null && touch $@ || true

# The only dependency that is compiled; if that fails, its tests are skipped with a message. Installed after the other extra,
# since two pips must not run in one environment.
$(VENV)/.crf: $(INSTALLED) | $(VENV)/.consumers
	@$(PIP_INSTALL) cython setuptools wheel && $(PIP_INSTALL) --no-build-isolation pydensecrf2 && touch $@ || \
	    echo "the extra 'crf' cannot be compiled here; its tests will be skipped" >&2

# Half a gigabyte that no user of the bundle needs.
$(VENV)/.consumers: $(INSTALLED)
	@echo "installing annotation tools, for the tests of the exports"
	@$(PIP_INSTALL) '.[consumers,deploy,export]' && touch $@ || \
	    echo "the extra 'consumers' cannot be installed here; its tests will be skipped" >&2

# Client libraries that need an older protobuf than the rest, and so a separate environment: 0.3 GB.
CLIENT_LIBRARIES := tests/live/client_programs/requirements.txt
$(VENV)/clients/.installed: $(CLIENT_LIBRARIES) | $(BIN)/pip
	@echo "installing client libraries into $(VENV)/clients, for the live tests"
	@$(BIN)/python -m venv $(VENV)/clients && \
	    $(VENV)/clients/bin/python -m pip install -q --disable-pip-version-check --no-compile --no-deps $(PIP_ARGS) -r $< && \
	    touch $@ || echo "the client libraries cannot be installed here; their tests will be skipped" >&2

page: page/node_modules/.installed  ## Build the page that the server without Java shows at / (needs Node 20)
	@cd page && npm run -s build

# The page's build tools and browser tests: 0.1 GB, not needed for serving the page.
page/node_modules/.installed: page/package-lock.json
	@cd page && npm ci --loglevel error && touch node_modules/.installed || \
	    echo "Node's packages cannot be installed here; the page's tests will be skipped" >&2

# Alternative servers, for `make bench` only: 0.1 GB in addition to the development environment, which theirs inherits.
PEERS := benchmarks/serving/peers/requirements.txt
$(VENV)/peers/.installed: $(PEERS) | $(INSTALLED)
	@echo "installing FastAPI, LitServe and transformers into $(VENV)/peers, to compare with"
	@$(BIN)/python -m venv $(VENV)/peers && \
	    $(VENV)/peers/bin/python -m pip install -q --disable-pip-version-check --no-compile --no-deps $(PIP_ARGS) -r $< && \
	    $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	    $$($(VENV)/peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/development.pth && touch $@ || \
	    echo "they cannot be installed here; the benchmark skips them" >&2

bench: setup $(VENV)/peers/.installed  ## Compare with other servers and TorchServe's own handler on an idle machine; results in build/bench
	$(RUN) benchmarks.serving --out $(BUILD)/bench $(if $(SECTIONS),--sections $(SECTIONS))

FAULTS ?= all
drill: package  ## Inject faults into both servers under load; count answered, refused and lost requests in build/faults
	$(RUN) benchmarks.faults --archive $(ARCHIVE) --out $(BUILD)/faults --faults $(FAULTS)

MINUTES ?= 60
soak: package  ## Send mixed requests to both servers for an hour (MINUTES=...); memory, descriptors and latency in build/soak
	$(RUN) benchmarks.soak --archive $(ARCHIVE) --out $(BUILD)/soak --minutes $(MINUTES)

sbom: $(VENV)/.consumers  ## Write a bill of materials (CycloneDX) for each server's image into build
	@$(RUN) tools.bill_of_materials asgi --out $(BUILD)/asgi.cdx.json
	@$(RUN) tools.bill_of_materials torchserve --out $(BUILD)/torchserve.cdx.json

SEED ?= $(shell date +%s)
fuzz: setup  ## Send 100,000 malformed inputs and 5,000 live requests (SEED=...); measure peak memory
	$(RUN) pytest tests/fuzz tests/live/test_fuzz.py --exhaustive --fuzz 100000 --fuzz-requests 5000 --fuzz-seed $(SEED) --fuzz-folder $(BUILD)/fuzz
	@cat $(BUILD)/fuzz/memory.csv
	@$(RUN) benchmarks.largest_images --out $(BUILD)/fuzz/memory.json

lint: setup  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(RUN) mypy

format: setup  ## Format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:  ## Remove build products, but keep the virtual environment
	rm -rf $(BUILD) .mypy_cache .pytest_cache .ruff_cache .hypothesis logs
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
