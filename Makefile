# Every target does its own set-up in .build. It needs only make, and a Python with pip.

PYTHON ?= python3
PYTHONS ?= 3.11 3.12 3.13
# Of these, the ones on which test-pythons leaves out tests that install from the package index.
REDUCED ?=
BUILD := .build
REPORTS ?= $(BUILD)/reports
UV_HOME := $(BUILD)/uv
UV := "$(CURDIR)/$(UV_HOME)/bin/uv"
# How many tests run at the same time. Most of them wait for something, so this may exceed the number of processors.
JOBS ?= 6
SPREAD := -n $(JOBS) --dist loadfile --no-loadscope-reorder
# WHEEL=1 tests the built wheel instead of the sources. COVERAGE=1 measures which code of the package the tests execute.
VENV := $(BUILD)/venv$(if $(WHEEL),-wheel)$(if $(COVERAGE),-coverage)
BIN := $(VENV)/bin
TOOLS := $(CURDIR)/$(BIN):$(CURDIR)/$(UV_HOME)/bin
# Where pyenv keeps its Pythons, which need not be on PATH.
PYENV_ROOTS = $(sort $(PYENV_ROOT) $(shell pyenv root 2>/dev/null))
# Another Python needs another environment.
DONE := $(VENV)/.done-$(notdir $(PYTHON))

export UV_NO_PROGRESS := 1
export UV_PYTHON_DOWNLOADS := never
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

.PHONY: help setup rabbitmq postgresql chromium demo airflow cluster rehearsal test test-kills test-pythons matrix deployment client client-compare coverage-report mutation check release-check docs pictures benchmarks chaos constraints clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):[^#]*## (.*)/\1|\2/' | \
	  while IFS='|' read -r name text; do printf '  make %-16s%s\n' "$$name" "$$text"; done

# With --target, pip also installs where the distribution manages Python (PEP 668). uv also creates virtual environments
# where python3-venv is not installed.
$(UV_HOME)/.done:
	@echo "Setting up uv in $(UV_HOME)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-input \
	  --target $(UV_HOME) --upgrade "$$(grep '^uv==' constraints.txt)"
	@touch $@

$(DONE): $(UV_HOME)/.done pyproject.toml constraints.txt $(if $(WHEEL),$(shell find dkist_processing_core -type f -not -path '*/__pycache__/*'))
	@echo "Setting up Airflow and the tools in $(VENV) (a minute or more the first time)"
	@rm -f $(VENV)/.done-*
	@$(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
ifdef WHEEL
	@rm -rf $(BUILD)/wheel
	@$(UV) build --quiet --wheel --out-dir $(BUILD)/wheel .
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --reinstall-package dkist-processing-core \
	  "$$(echo $(BUILD)/wheel/*.whl)[airflow,build,docs,lint,otel,release,test]"
else
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt \
	  --editable '.[airflow,build,docs,lint,otel,release,test]'
endif
	@touch $@

setup: $(DONE) ## Set up a local environment for development

# If RabbitMQ cannot be installed, this says so, and the tests that need it are skipped with that reason.
rabbitmq: ## Install RabbitMQ, if it is missing (as root on Debian)
	@tests/support/install_rabbitmq.sh

# Likewise.
postgresql: ## Install PostgreSQL, if it is missing (as root on Debian)
	@tests/support/install_postgresql.sh

# Likewise.
chromium: ## Install Chromium, if it is missing (as root on Debian)
	@tests/support/install_chromium.sh

demo: $(DONE) ## Export and run the example package on a real Airflow, and show the outcome
	@PATH="$(TOOLS):$$PATH" $(BIN)/python examples/demo.py

airflow: $(DONE) ## Run the example package in a standalone Airflow with its web pages, until Ctrl-C
	@PATH="$(TOOLS):$$PATH" $(BIN)/python examples/standalone_airflow.py

cluster: $(DONE) rabbitmq postgresql ## Run the example on a cluster on this machine (KEEP=1: keep it until Ctrl-C)
	@PATH="$(TOOLS):$$PATH" $(BIN)/python examples/cluster.py $(if $(KEEP),--keep)

rehearsal: $(DONE) rabbitmq postgresql ## Upgrade a cluster from the published library, go back, upgrade again; write the transcript
	@PATH="$(TOOLS):$$PATH" $(BIN)/python examples/rehearsal.py

test: $(DONE) rabbitmq postgresql chromium ## Run the tests (WHEEL=1: of the built wheel)
	@$(if $(COVERAGE),$(BIN)/python tests/support/coverage/install.py)
	@PATH="$(TOOLS):$$PATH" DKIST_TEST_WHEEL=$(WHEEL) $(BIN)/pytest $(SPREAD) $(PYTEST_ARGUMENTS)

# Tests with Airflow and RabbitMQ are left out: they do not depend on the Python. A missing Python is skipped.
test-pythons: $(UV_HOME)/.done ## Run the tests that need no server on every supported Python that is installed
	@mkdir -p $(REPORTS); rm -f $(REPORTS)/missing-pythons
	@for version in $(PYTHONS); do \
	  python=$$($(UV) python find --quiet $$version 2>/dev/null || \
	    ls -d $(foreach root,$(PYENV_ROOTS),"$(root)"/versions/$$version.*/bin/python) 2>/dev/null | sort -V | tail -n 1); \
	  if [ -z "$$python" ]; then \
	    echo "NOT TESTED: Python $$version is not installed (looked on PATH, and in versions/ of $(PYENV_ROOTS))"; \
	    echo $$version >>$(REPORTS)/missing-pythons; continue; \
	  fi; \
	  echo "Python $$version"; \
	  case " $(REDUCED) " in *" $$version "*) without=' and not network';; *) without='';; esac; \
	  venv="$(CURDIR)/$(BUILD)/venv-$$version"; \
	  $(UV) venv --quiet --allow-existing --python "$$python" "$$venv" && \
	  $(UV) pip install --quiet --python "$$venv/bin/python" --constraint constraints.txt uv --editable '.[build,test]' && \
	  PATH="$$venv/bin:$(CURDIR)/$(UV_HOME)/bin:$$PATH" "$$venv/bin/pytest" $(SPREAD) --quiet \
	    -m "not airflow and not rabbitmq and not client and not client_comparison and not deployment and not installations and not kills and not once$$without" --junitxml=$(REPORTS)/python-$$version.xml || exit 1; \
	done

test-kills: $(DONE) ## Kill 200 builds and 100 exports, cut the power 40 times, run 200 tasks without a reaper of orphans
	@PATH="$(TOOLS):$$PATH" $(BIN)/pytest -m kills -s $(PYTEST_ARGUMENTS)

matrix: $(DONE) rabbitmq ## Try exported files on every Airflow from 2.10 on (AIRFLOWS="2.10.5 3.3.2": on these)
	@PATH="$(TOOLS):$$PATH" DKIST_TEST_WHEEL=$(WHEEL) DKIST_MATRIX_AIRFLOW="$(AIRFLOWS)" \
	  DKIST_MATRIX_PUBLISHED="$(PUBLISHED)" $(BIN)/pytest -m matrix $(PYTEST_ARGUMENTS)

deployment: $(DONE) rabbitmq ## Start the units of deploy/ and replay the steps of its images, without systemd and Docker
	@PATH="$(TOOLS):$$PATH" $(BIN)/pytest -m deployment $(PYTEST_ARGUMENTS)

client: $(DONE) rabbitmq ## Run real client packages on this library: their workflow tests, exports, and workflows
	@PATH="$(TOOLS):$$PATH" $(BIN)/pytest -m client $(PYTEST_ARGUMENTS)

client-compare: $(DONE) rabbitmq ## Compare the tests of real client packages with the published library and with this one
	@PATH="$(TOOLS):$$PATH" $(BIN)/pytest -m client_comparison $(PYTEST_ARGUMENTS)

# It uses the environment of make test COVERAGE=1, in which the package was measured.
coverage-report: $(DONE) ## Show the coverage of each folder, after make test COVERAGE=1 (with the same WHEEL)
	@$(BIN)/python tests/support/coverage/report.py

mutation: $(DONE) ## List small changes of the package that no test notices (MODULES="scheduling isb/spool": of these)
	@$(BIN)/python tests/support/mutation/run.py $(MODULES)

check: $(DONE) ## Run the linters, the type checker and the contract of the layers
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@PATH="$(TOOLS):$$PATH" $(BIN)/lint-imports

# A release uploads the archives that this builds, examines and installs. There is one process per processor.
release-check: $(DONE) ## Build the archives of a release in .build/release, examine them, and install them everywhere
	@rm -rf $(BUILD)/release
	@$(UV) build --quiet --build-constraints constraints.txt --out-dir $(BUILD)/release .
	@PATH="$(TOOLS):$$PATH" DKIST_TEST_ARCHIVES="$(CURDIR)/$(BUILD)/release" $(BIN)/pytest \
	  -n $(shell nproc) --quiet -m "release or installations" \
	  tests/test_archives.py tests/test_pipelines.py tests/test_installations.py $(PYTEST_ARGUMENTS)

docs: $(DONE) ## Build the documentation
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

pictures: $(DONE) chromium ## Remake the pictures of the documentation in docs/images
	@PATH="$(TOOLS):$$PATH" $(BIN)/python docs/pictures.py

benchmarks: $(DONE) ## Run the benchmarks
	@for each in $(filter-out benchmarks/chaos.py,$(wildcard benchmarks/*.py)); do echo "$$each"; PATH="$(TOOLS):$$PATH" $(BIN)/python $$each || exit 1; done

chaos: $(DONE) rabbitmq postgresql ## Kill parts of a cluster at random and count what is lost (ARGUMENTS="--seed 1 --runs 200")
	@PATH="$(TOOLS):$$PATH" $(BIN)/python benchmarks/chaos.py $(ARGUMENTS)

constraints: $(UV_HOME)/.done ## Update the pins of the tests, the demo and the docs
	@{ echo '# What the tests, the demo and the docs of this project are run with; "make constraints" writes it.'; \
	  $(UV) pip compile --quiet --universal --upgrade --python-version 3.11 --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links --all-extras pyproject.toml; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## Remove everything that the other targets made
	rm -rf $(BUILD) dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
