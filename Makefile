# Each target sets up .venv first if it is missing or if the dependencies changed.
# PYTHON=python3.12 make test picks another interpreter; VENV= another place.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS := cpu,train,predict,medical,report,rtx,litert,dashboard,deploy,record,publish,search,tensorboard,ros2,mcap,foxglove,mqtt,dev
READY := $(VENV)/.installed
DOCS_VENV ?= .venv-docs
DOCS_BIN := $(DOCS_VENV)/bin
DOCS_READY := $(DOCS_VENV)/.installed
# torch-tensorrt needs the CUDA build of torch; an interpreter that has another build at hand would take that.
TT_PYTHON ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python3.13) python3.13)
TT_VENV ?= .venv-torch-tensorrt
TT_BIN := $(TT_VENV)/bin
TT_READY := $(TT_VENV)/.installed
TT_RTX := 1.5.0.114
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
SBOM = $(DOCS_BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file

ZOO_VENV ?= .venv-zoo
ZOO_BIN := $(ZOO_VENV)/bin
ZOO_READY := $(ZOO_VENV)/.installed
# Versions are those of constraints.txt, pip's own and those of tools that build packages from source included.
PIN := --constraint $(CURDIR)/constraints.txt
INSTALL := $(PIN) --build-constraint $(CURDIR)/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint docs package lock pin-bases audit changelog bindings litert torch-tensorrt soak fuzz bench latency zoo images clean

help: ## Lists the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIN) --upgrade pip
	$(BIN)/python -m pip install $(INSTALL) --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(READY) ## Runs the whole job on synthetic road scenes: train, compress, INT8, camera loop, report.
	$(BIN)/jetseg demo

test: $(READY) ## Runs the default tests.
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-long: $(READY) ## Runs the tests that take some seconds each: whole chains, real networks.
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'long and not slow and not gpu and not tensorrt and not torch_tensorrt'

lint: $(READY) ## Checks style, types and the import graph.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(DOCS_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_BIN)/python -m pip install --quiet $(PIN) --upgrade pip
	$(DOCS_BIN)/python -m pip install $(INSTALL) --editable '.[cpu,docs,release]'
	@touch $@

docs: $(DOCS_READY) ## Builds the documentation into site/, in a small environment without torch; warnings are errors.
	NO_MKDOCS_2_WARNING=1 $(DOCS_BIN)/mkdocs build --strict

package: $(DOCS_READY) ## Makes an sdist, a wheel from it, and bills of materials (CycloneDX), in dist/.
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(DOCS_BIN)/python -m build --outdir dist .
	$(SBOM) dist/jetseg-$(VERSION).cdx.json docker/cpu.lock
	$(SBOM) dist/jetseg-$(VERSION)-jetson.cdx.json docker/jetson.lock
	$(SBOM) dist/jetseg-$(VERSION)-dev.cdx.json constraints.txt

lock: $(DOCS_READY) ## Writes the hash-locked sets of the images anew, for the versions of the constraint files.
	UV=$(DOCS_BIN)/uv docker/lock.sh

pin-bases: ## Writes the digests of the images' bases into the Dockerfiles; needs skopeo.
	docker/pin-bases.sh

# Without --strict, pip-audit calls what it could not look up free of vulnerabilities.
audit: $(DOCS_READY) ## Looks every locked version up among the known vulnerabilities; fails if one could not be looked up.
	@for set in docker/cpu.lock docker/jetson.lock docker/pycuda.lock constraints.txt; do \
		$(DOCS_BIN)/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement $$set || failed="$$failed $$set"; \
	done; test -z "$$failed" || { echo "Not audited, or vulnerable (see above):$$failed. Without a service of known \
	vulnerabilities in reach, nothing is known about them." >&2; exit 1; }

changelog: $(DOCS_READY) ## Moves the fragments of changes/ into CHANGELOG.md, under the version of pyproject.toml.
	$(DOCS_BIN)/towncrier build --yes

bindings: $(READY) ## Slow tests over NVIDIA's own bindings of four versions, its builder, and pycuda itself (240 MB are downloaded).
	$(BIN)/python -m pytest -m slow tests/engine/tensorrt

$(VENV)/.litert: $(READY) jetseg/engine/litert/converter.txt
	$(BIN)/python -m pip install --no-deps --requirement jetseg/engine/litert/converter.txt
	@touch $@

litert: $(VENV)/.litert ## Installs LiteRT's converter, and runs the slow tests that convert networks.
	$(BIN)/python -m pytest -m slow tests/engine/litert

$(TT_READY): pyproject.toml constraints.txt
	$(TT_PYTHON) -m venv $(TT_VENV)
	$(TT_BIN)/python -m pip install --quiet $(PIN) --upgrade pip
	$(TT_BIN)/python -m pip install $(INSTALL) --editable '.[cpu,train]' pytest pytest-timeout
	$(TT_BIN)/python -m pip install --no-deps torch-tensorrt-rtx==2.13.0 dllist tensorrt-rtx==$(TT_RTX) \
		tensorrt_rtx_cu13==$(TT_RTX) tensorrt_rtx_cu13_libs==$(TT_RTX) tensorrt_rtx_cu13_bindings==$(TT_RTX)
	@touch $@

torch-tensorrt: $(TT_READY) ## Converts every network with the real torch-tensorrt, without a GPU (5 GB are downloaded).
	$(TT_BIN)/python -m pytest -m torch_tensorrt tests/exporters

soak: $(READY) ## Runs the camera loop for two minutes while camera, disk, browsers and shadow fail at random.
	$(BIN)/python -m pytest -s -m slow 'tests/dashboard/test_soak.py::test_nothing_grows_and_nothing_is_left[120]'

fuzz: $(READY) ## Feeds random manifests, networks, kits, images and requests to what reads them, a minute each.
	JETSEG_FUZZ_SECONDS=60 $(BIN)/python -m pytest -n 2 --dist load --timeout 300 -m fuzz tests

bench: $(READY) ## Measures speed and memory as ratios of alternated runs.
	$(BIN)/python bench/run_all.py

$(ZOO_READY): pyproject.toml constraints.txt tests/zoo/requirements.txt
	$(PYTHON) -m venv $(ZOO_VENV)
	$(ZOO_BIN)/python -m pip install --quiet $(PIN) --upgrade pip
	$(ZOO_BIN)/python -m pip install $(INSTALL) --editable '.[cpu,train,predict,report,rtx]' --requirement tests/zoo/requirements.txt
	@touch $@

latency: $(ZOO_READY) ## Predicts the latency of 40 networks and measures them (an hour, on a quiet machine); goes on where it was stopped.
	PYTHONPATH=$(CURDIR)/tests OMP_NUM_THREADS=1 $(ZOO_BIN)/python bench/latency_prediction.py --page docs/measurements/latency.md

zoo: $(ZOO_READY) ## Every verb on 26 networks of timm, transformers and others (an hour or more); goes on where it was stopped.
	PYTHONPATH=$(CURDIR)/tests OMP_NUM_THREADS=1 $(ZOO_BIN)/python -m zoo.chain --page docs/measurements/zoo.md

images: $(READY) ## Builds the container images (root, buildah, debootstrap, qemu-user-static) and runs what is inside.
	$(BIN)/python -m pytest -s -m slow tests/docker

clean: ## Removes what the targets made; never engines/ or calibration/.
	rm -rf $(VENV) $(DOCS_VENV) $(TT_VENV) $(ZOO_VENV) site build dist runs .mypy_cache .ruff_cache .pytest_cache
