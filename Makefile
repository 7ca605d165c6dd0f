# `make demo` shows vreid at work, `make test` proves it; both need python3 and make, and nothing else.

PYTHON ?= python3
# PyPI's torch for Linux on x86 brings gigabytes of CUDA, which no test needs. For the small CPU one name PyTorch's own index:
# make test TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'
TORCH ?= torch==2.13.0

VENV := .venv
PIP := $(VENV)/bin/python -m pip --quiet --no-input
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# pytest's processes, one more than cores since some tests wait for servers: each takes whole files of tests, and a gigabyte of
# memory where torch and ONNX are in it
WORKERS ?= $(shell n=$$(($(JOBS) + 1)); [ "$$n" -gt 4 ] && n=4; echo $$n)
NATIVE_NEEDS := apt install libopencv-dev libfaiss-dev libopenblas-dev liblapack-dev libsqlite3-dev libutf8proc-dev libssl-dev \
	nlohmann-json3-dev libcli11-dev libgtest-dev
LAYERS := models report synth train runtime serve fleet deploy cli

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# A thread that spins at a barrier takes the core that the next stage of a small device needs.
export OMP_WAIT_POLICY ?= PASSIVE

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test test-gpu lint types native clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.demo-installed  ## three synthetic cameras, one gallery, one report; no download, no GPU, no torch
	$(VENV)/bin/vreid demo

test: export OMP_NUM_THREADS ?= 1
# Without bytecode each process of pytest rewrites every assert, and each vreid that a test starts compiles all it imports.
test: export PYTHONDONTWRITEBYTECODE =
test: lint types native  ## lint, types, the C++ and its tests, and the other tests; VREID_SLOW=1 runs those marked slow too
	$(VENV)/bin/python -m pytest -rs -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-gpu: $(VENV)/.test-installed  ## only the tests that need a GPU
	$(VENV)/bin/python -m pytest -rs -m gpu

lint: $(VENV)/.test-installed  ## ruff: rules and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# mypy does not see through the editable install: it finds vreid by a link to the root of the repository.
types: $(VENV)/.test-installed  ## mypy, strict
	@mkdir -p build/typing && ln -sfn ../.. build/typing/vreid
	$(VENV)/bin/mypy --num-workers $(WORKERS) -m vreid $(LAYERS:%=-p vreid.%)

native: $(VENV)/.test-installed  ## the native runtime in build/native and its tests, where CMake and OpenCV's headers are
	@if ! command -v cmake >/dev/null; then echo "skipped: the native runtime, because there is no cmake"; \
	elif ! pkg-config --exists opencv4 && ! pkg-config --exists opencv5; then \
		echo "skipped: the native runtime, because there is no OpenCV for C++: $(NATIVE_NEEDS)"; \
	else \
		cmake -S . -B build/native -DVREID_NATIVE=ON -DVREID_EXAMPLES=ON -DVREID_WERROR=ON && \
		cmake --build build/native --parallel $(JOBS) && \
		ctest --test-dir build/native --output-on-failure && \
		cmake -S . -B build/native-shared -DVREID_NATIVE=ON -DBUILD_SHARED_LIBS=ON -DVREID_PROGRAM=OFF -DVREID_WERROR=ON && \
		cmake --build build/native-shared --parallel $(JOBS); \
	fi

clean:  ## remove what lint, types, test and build made; .venv, runs and exported models stay
	rm -rf build/native build/native-shared build/typing dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find $(LAYERS) tests -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "vreid needs Python 3.10 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "this Python cannot make a virtual environment; run: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-installed: pyproject.toml | $(VENV)/bin/pip
	@echo "installing vreid and what it needs into $(VENV), once"
	@$(PIP) install -e .
	@touch $@

$(VENV)/.test-installed: pyproject.toml | $(VENV)/bin/pip
	@echo "installing vreid, torch and the test tools into $(VENV), once; this takes minutes"
	@$(PIP) install $(TORCH)
	@$(PIP) install -e '.[train,deploy,dev]'
	@for extra in openvino tensorrt-rtx lint; do $(PIP) install -e ".[$$extra]" || \
		echo "no wheel of $$extra for this machine: its tests will be skipped by name" >&2; done
	@touch $@ $(VENV)/.demo-installed
