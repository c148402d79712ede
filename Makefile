# Each target is one step that people and CI take alike.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo demo-servers install test servers lint format chart docs docs-reference model-check bench lock deb image sbom audit clean

demo: $(VENV)/demo.stamp  ## Label sample pictures in a temporary folder, search them, watch the folder.
	$(BIN)/imgtag demo

# The servers are built first where they are missing, which needs Go.
demo-servers: $(VENV)/dev.stamp  ## The same pictures through a real MinIO and a real nats-server.
	@$(BIN)/python scripts/servers.py install minio mc nats-server
	$(BIN)/python scripts/demo_servers.py

install: $(VENV)/dev.stamp  ## All that development needs, into a virtual environment.

# A module stays on one worker, as what its tests share is made once; in their order the long ones come first.
test: lint servers  ## Everything that must pass.
	$(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

# Without Go the tests on real servers are skipped, and say so; with CI=true they fail then.
servers: $(VENV)/dev.stamp  ## MinIO, nats-server, a Kubernetes control plane, Helm and what else tests run against, into .tools/bin.
	-$(BIN)/python scripts/servers.py install

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

chart: $(VENV)/dev.stamp  ## What is made from the Helm chart: the table in its README, the snapshots of the tests.
	$(BIN)/python scripts/chart.py
	UPDATE_SNAPSHOTS=1 $(BIN)/pytest --quiet tests/packaging/test_chart.py -k snapshot

# Not --quiet, which has --strict overlook every warning.
docs: docs-reference  ## The documentation, into build/site.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-reference: $(VENV)/dev.stamp  ## The pages of the reference that are made from the code.
	$(BIN)/python scripts/docs

model-check: $(VENV)/dev.stamp  ## Rebuild the bundled model and compare it with the committed one.
	$(BIN)/python scripts/model build --check

bench: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/pipeline.py

RESOLVE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command 'make lock'

lock: $(VENV)/dev.stamp  ## All libraries, each with its hashes; `make lock UPGRADE=--upgrade` takes newer ones.
	$(RESOLVE) $(UPGRADE) pyproject.toml --output-file packaging/requirements.lock
	$(RESOLVE) $(UPGRADE) packaging/build.in --output-file packaging/build.lock
	$(RESOLVE) $(UPGRADE) packaging/sbom.in --output-file packaging/sbom.lock

deb: $(VENV)/dev.stamp  ## A Debian package for the Debian that this is, into dist/.
	$(BIN)/python packaging/deb/build.py

# The image is named after the version; BASE=IMAGE builds it on another base than Python's own.
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' sidecar/imgtag/__init__.py)
ENGINE ?= $(firstword $(foreach name,docker podman,$(if $(shell command -v $(name)),$(name))))

image:  ## A container image, by docker or podman (ENGINE=).
	$(ENGINE) build $(if $(findstring podman,$(ENGINE)),--format docker) $(if $(BASE),--build-arg BASE=$(BASE)) \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) \
	  --build-arg SOURCE_DATE_EPOCH=$(shell git log -1 --format=%ct) --tag imgtag-sidecar:$(VERSION) .

sbom: $(VENV)/dev.stamp  ## What the image holds, as CycloneDX, into dist/sbom.cdx.json: from the locked libraries.
	mkdir -p dist
	$(VENV)/bin/python -m venv build/sbom
	build/sbom/bin/pip install --quiet --require-hashes --only-binary :all: --requirement packaging/sbom.lock
	build/sbom/bin/cyclonedx-py requirements packaging/requirements.lock --pyproject pyproject.toml \
	  --mc-type application --output-reproducible --output-file dist/sbom.cdx.json

# Strict: without it, what the service does not know is skipped with exit code 0.
audit: $(VENV)/dev.stamp  ## Known vulnerabilities of the locked libraries; asks the internet.
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
