# Two commands on a fresh machine with Python 3.11+: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# One more than cores: tests wait for processes and servers.
WORKERS := $(shell $(PYTHON) -c "import os; print(1 + (os.cpu_count() or 1))")
export ELASTIQ_STORE ?= $(CURDIR)/$(DEMO)/store

.PHONY: demo test arm64 lint bench wheel clean

demo: $(VENV)/.demo
	mkdir -p $(DEMO)
	$(BIN)/elastiq build zoo.perceiver:model -t cpu-x86 -o $(DEMO)/perceiver.elastiq
	$(BIN)/elastiq check $(DEMO)/perceiver.elastiq
	$(BIN)/elastiq replay $(DEMO)/perceiver.elastiq --seconds 4 --deadline-ms 10 -o $(DEMO)/burst.json
	$(BIN)/elastiq report $(DEMO)/perceiver.elastiq --replay $(DEMO)/burst.json -o $(DEMO)/report.html

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

arm64: $(VENV)/.dev
	$(BIN)/python -m tests.arm64 $(DEMO)/arm64

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[compile,openvino,zoo]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/pip install --quiet -c constraints.txt -e '.[compile,openvino,tvm-build,tensorrt-rtx,zoo,serve,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build dist
