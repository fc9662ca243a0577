# Every target does its own set-up, under .build, and needs nothing but a Python with pip, and make.

PYTHON ?= python3
BUILD := .build
UV_HOME := $(BUILD)/uv
UV := $(CURDIR)/$(UV_HOME)/bin/uv
VENV := $(BUILD)/venv
BIN := $(CURDIR)/$(VENV)/bin
DIST := $(BUILD)/dist

# uv leaves a cache in the home folder, as pip does; what it says goes to the terminal only where it matters.
export UV_NO_PROGRESS := 1
export UV_PYTHON_DOWNLOADS := never
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME


.PHONY: help demo airflow test client check docs clean constraints setup

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | sort | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

# pip installs into a folder of ours even where Python is managed by the distribution (PEP 668), and uv makes virtual
# environments where python3-venv is not installed.
$(UV_HOME)/.done:
	@echo "Setting up uv in $(UV_HOME)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-input --target $(UV_HOME) --upgrade "$$(grep '^uv==' constraints.txt)"
	@touch $@

$(VENV)/.done: $(UV_HOME)/.done pyproject.toml constraints.txt
	@echo "Setting up Airflow and the tools in $(VENV) (about a minute the first time)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[airflow,build,docs,lint,otel,test]'
	@touch $@

setup: $(VENV)/.done ## Set up a local environment for development

demo: $(VENV)/.done ## Declare, export, load and run the example package on a real Airflow, and look at the outcome
	@PATH="$(BIN):$(CURDIR)/$(UV_HOME)/bin:$$PATH" $(BIN)/python examples/demo.py

airflow: $(VENV)/.done ## Run the example package in a standalone Airflow with its web pages, until Ctrl-C
	@PATH="$(BIN):$(CURDIR)/$(UV_HOME)/bin:$$PATH" $(BIN)/python examples/standalone_airflow.py

test: $(VENV)/.done ## Run the tests
	@PATH="$(BIN):$(CURDIR)/$(UV_HOME)/bin:$$PATH" $(BIN)/python -m pytest $(PYTEST_ARGUMENTS)

client: $(VENV)/.done ## Run a real client package on this library: its own test, its exports, one of its workflows
	@PATH="$(BIN):$(CURDIR)/$(UV_HOME)/bin:$$PATH" $(BIN)/python -m pytest -m client $(PYTEST_ARGUMENTS)

check: $(VENV)/.done ## Run the linters, the type checker and the layers' contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PATH="$(BIN):$$PATH" $(BIN)/lint-imports

docs: $(VENV)/.done ## Build the documentation
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

constraints: $(UV_HOME)/.done ## Pin anew what the tests, the demo and the docs are run with
	@{ echo '# What the tests, the demo and the docs of this project are run with; "make constraints" makes it anew.'; \
	  $(UV) pip compile --quiet --universal --upgrade --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	    --no-emit-find-links --all-extras pyproject.toml; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## Remove everything that the other targets have made
	rm -rf $(BUILD) dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
