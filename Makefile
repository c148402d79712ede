# Each target is one step, the same for people and for CI.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo demo-servers published-systems install check test mutation servers lint format chart docs docs-reference page-vendor screenshots attack-table fuzz model-check bench lock deb image sbom audit clean

demo: $(VENV)/demo.stamp  ## Label sample images in a temporary folder, search them, watch the folder.
	$(BIN)/imgtag demo

# Builds missing servers first, which needs Go.
demo-servers: $(VENV)/dev.stamp  ## Run the same demo with a real MinIO and a real nats-server.
	@$(BIN)/python scripts/servers.py install minio mc nats-server
	$(BIN)/python scripts/demo_servers.py

published-systems: $(VENV)/dev.stamp  ## Rebuild three published labelling systems from plugins and real servers.
	@$(BIN)/python scripts/servers.py install minio mc elasticmq opensearch
	$(BIN)/python examples/published_systems/rebuild.py

install: $(VENV)/dev.stamp  ## Install everything for development into a virtual environment.

# A module stays on one worker, because its tests share fixtures; in file order, the long ones come first. Tests wait for
# servers a third of their time, so that three workers keep two processors busy.
PYTEST := $(BIN)/pytest --numprocesses 3 --dist loadscope --no-loadscope-reorder

check: lint  ## Run what a change needs first: lint, types, import layers, unit tests, in-memory conformance.
	$(PYTEST) --hypothesis-profile=check -m "not slow" tests/conformance/test_broken.py tests/conformance/test_memory.py tests/unit

test: lint servers  ## Run every check and test.
	$(PYTEST)

# CI does not run it. MODULES="mark.py pool.py" limits it to these modules.
mutation: $(VENV)/dev.stamp servers  ## Run mutation tests over the modules that decide; results are in tests/mutation.md.
	nice -n 10 $(BIN)/python scripts/mutation $(MODULES)

# Without Go or Maven, the tests on real servers are skipped and say so; with CI=true they fail.
servers: $(VENV)/dev.stamp  ## Install MinIO, nats-server, a Kubernetes control plane, Helm and other programs for the tests into .tools/bin.
	-$(BIN)/python scripts/servers.py install

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

chart: $(VENV)/dev.stamp  ## Regenerate the values table in the chart's README and the snapshots of the tests.
	$(BIN)/python scripts/chart.py
	UPDATE_SNAPSHOTS=1 $(BIN)/pytest --quiet tests/packaging/test_chart.py -k snapshot

# Without --quiet, which makes --strict ignore every warning.
docs: docs-reference  ## Build the documentation in build/site.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-reference: $(VENV)/dev.stamp  ## Regenerate the reference pages from the code.
	$(BIN)/python scripts/docs

page-vendor: $(VENV)/dev.stamp  ## Make the vendored scripts and the map of the search page again; needs npm.
	$(BIN)/python scripts/page.py

screenshots: $(VENV)/dev.stamp  ## Take the screenshots of the docs again; needs Chromium.
	$(BIN)/python scripts/screenshots.py

attack-table: $(VENV)/dev.stamp  ## Attack a worker in every environment and write the table of the threat model.
	mkdir -p build/attack
	ATTACK_REPORTS=$(CURDIR)/build/attack $(BIN)/pytest tests/attack --deselect \
	  tests/attack/test_attack.py::test_the_threat_model_has_every_attempt
	ATTACK_REPORTS=$(CURDIR)/build/attack $(BIN)/pytest tests/packaging -k taken_over
	$(BIN)/python scripts/attack_table.py build/attack

# The tests try 2,000. `PYTHONPATH=tests .venv/bin/python -m fuzz TARGET --only NUMBER` repeats one.
fuzz: $(VENV)/dev.stamp  ## Pass 100,000 damaged inputs to everything that reads untrusted bytes; takes about ten minutes.
	PYTHONPATH=tests $(BIN)/python -W error -m fuzz

model-check: $(VENV)/dev.stamp  ## Rebuild the bundled model and compare it with the committed one.
	$(BIN)/python scripts/model build --check

bench: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/pipeline.py

RESOLVE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command 'make lock'

lock: $(VENV)/dev.stamp  ## Pin all libraries with their hashes; `make lock UPGRADE=--upgrade` upgrades them.
	$(RESOLVE) $(UPGRADE) pyproject.toml --extra aws --extra elasticsearch --extra heif --output-file packaging/requirements.lock
	$(RESOLVE) $(UPGRADE) packaging/build.in --output-file packaging/build.lock
	$(RESOLVE) $(UPGRADE) packaging/sbom.in --output-file packaging/sbom.lock

deb: $(VENV)/dev.stamp  ## Build a Debian package for this Debian release in dist/.
	$(BIN)/python packaging/deb/build.py

# The tag is the version; BASE=IMAGE builds on another base image.
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' sidecar/imgtag/__init__.py)
ENGINE ?= $(firstword $(foreach name,docker podman,$(if $(shell command -v $(name)),$(name))))

image:  ## Build a container image with docker or podman (ENGINE=).
	$(ENGINE) build $(if $(findstring podman,$(ENGINE)),--format docker) $(if $(BASE),--build-arg BASE=$(BASE)) \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) \
	  --build-arg SOURCE_DATE_EPOCH=$(shell git log -1 --format=%ct) --tag imgtag-sidecar:$(VERSION) .

sbom: $(VENV)/dev.stamp  ## Write the bill of materials (CycloneDX) of the locked libraries to dist/sbom.cdx.json.
	mkdir -p dist
	$(VENV)/bin/python -m venv build/sbom
	build/sbom/bin/pip install --quiet --require-hashes --only-binary :all: --requirement packaging/sbom.lock
	build/sbom/bin/cyclonedx-py requirements packaging/requirements.lock --pyproject pyproject.toml \
	  --mc-type application --output-reproducible --output-file dist/sbom.cdx.json

# Without --strict, pip-audit skips libraries that the service does not know, with exit code 0.
audit: $(VENV)/dev.stamp  ## List known vulnerabilities of the locked libraries; needs internet access.
	$(BIN)/uvx pip-audit --strict --requirement packaging/requirements.lock --require-hashes --disable-pip

clean:
	rm -rf $(VENV) dist build

$(VENV)/demo.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

$(VENV)/dev.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@ $(VENV)/demo.stamp
