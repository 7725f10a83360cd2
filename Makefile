# Everything a person types. Needs Python 3.11 or newer, make and a C compiler; all else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONWARNINGS ?= ignore::FutureWarning

.PHONY: all test lint types floors unit slow demo run bench faults soak docs docs-images lock audit clean

all: $(VENV)/ready

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --editable . "micro-sam==1.8.14"
	@touch $@

test: lint types floors unit

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy

floors: $(VENV)/ready
	$(BIN)/lint-imports

unit: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile

slow: $(VENV)/ready
	$(BIN)/python -m pytest -m slow

demo: $(VENV)/ready
	$(BIN)/alscope demo

run: $(VENV)/ready
	mkdir -p incoming
	$(BIN)/alscope --config config.toml run

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks.footprint
	$(BIN)/python -m benchmarks.ingest

# goes on where it was ended: the ledger is alscope-faults/ledger.csv
faults: $(VENV)/ready
	$(BIN)/python -m tests.faults.campaign $(FAULTS)

# a week of acquisitions in an hour; SOAK="--minutes 8" plays less of the week, as fast
soak: $(VENV)/ready
	$(BIN)/python -m benchmarks.soak $(SOAK)

lock:
	$(BIN)/uv pip compile pyproject.toml --group dev --all-extras --universal --python-version 3.11 --upgrade \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet -o requirements.lock

# vulnerabilities that are known in what is pinned; says so where no database can be reached
audit: $(VENV)/ready
	$(BIN)/python .ci/audit.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

docs: $(VENV)/ready
	$(BIN)/python docs/make_configuration.py

docs-images: $(VENV)/ready
	$(BIN)/python docs/make_images.py alscope-demo
	$(BIN)/python docs/make_report_image.py alscope-demo
	$(BIN)/python docs/make_evidence_images.py alscope-simulation
	xvfb-run -a -s '-screen 0 1600x1000x24' $(BIN)/python docs/make_annotate_image.py
