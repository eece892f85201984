# Everything sets itself up: `make run` and `make test` work in a fresh clone with Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env run test check static bench docs clean

env:
	@$(PYTHON) scripts/setup.py run

run: env
	@$(BIN)/stayline lab up $(ARGS)

test:
	@$(PYTHON) scripts/setup.py test
	@$(MAKE) --no-print-directory static
ifeq ($(ARGS),)
	@$(BIN)/python -m pytest -n auto --dist worksteal tests/unit tests/property
	@$(BIN)/python -m pytest tests/integration tests/browser tests/drills
else
	@$(BIN)/python -m pytest $(ARGS)
endif

# The fast loop: no database, no process, no browser.
check:
	@$(PYTHON) scripts/setup.py test
	@$(MAKE) --no-print-directory static
	@$(BIN)/python -m pytest -n auto --dist worksteal tests/unit tests/property $(ARGS)

static:
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench:
	@$(PYTHON) scripts/setup.py bench
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

docs:
	@$(PYTHON) scripts/setup.py test
	@$(BIN)/python scripts/generate_docs.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q

clean:
	rm -rf .venv .tools node_modules site dist build artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
