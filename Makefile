# Requires python3 (3.11 or later), git and make; everything else is installed into .venv.
.PHONY: demo docs screenshots test test-worker test-fast bench lint format newest compare fleet release clean
VENV := .venv
BIN := $(VENV)/bin
# uv ships its own certificates; the system's also include the authority of a private network.
export UV_SYSTEM_CERTS ?= true

# make demo WORKER=celery: with a worker
demo: $(VENV)/ready
	$(BIN)/python -m tools.demo $(if $(WORKER),worker=$(WORKER))

# Screenshots for the README. Needs Debian's package chromium.
screenshots: $(VENV)/ready
	$(BIN)/python -m tools.screenshots

# Three workers even on two cores: much of the suite waits for timeouts.
test: lint
	$(BIN)/pytest -n 3 --ignore tests/worker

# A service with a worker, on real Redis and RabbitMQ. Half of this suite waits, so more processes than cores.
test-worker: $(VENV)/ready
	$(BIN)/pytest -n 4 tests/worker

test-fast: lint
	$(BIN)/pytest -n 2 -m "not slow" --ignore tests/worker

# Measure what telemetry costs: half an hour on an otherwise idle machine. ARGS=--quick gives a first estimate.
bench: $(VENV)/ready
	@$(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Find the newest compatible versions and test services with them; changes nothing. ARGS=--write stores the versions.
newest: $(VENV)/ready
	$(BIN)/python -m tools.newest $(ARGS)

# A="framework=flask" B="framework=django", or SERVICE=folder; FLAGS=--diff, --json, --exit-code
compare: $(VENV)/ready
	@if [ -n "$(SERVICE)" ]; then set -- --service "$$SERVICE"; else set -- --between "$$A" "$$B"; fi; \
	$(BIN)/python tools/compare.py "$$@" $(FLAGS)

# SERVICES="../services/*": folders, git URLs, or a file that lists them; ARGS=--html FILE, --json, --csv, --exit-code,
# --update, --check COMMAND
fleet: $(VENV)/ready
	@$(BIN)/python -m tools.fleet $(ARGS) -- "$$SERVICES"

# Write what is generated in the documents: the examples, the diagrams, the comparison.
docs: $(VENV)/ready
	$(BIN)/python -m tools.documents

release: $(VENV)/ready
	@$(BIN)/python -m tools.release "$(VERSION)"

$(VENV)/ready: pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group dev
	touch $@

clean:
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache
