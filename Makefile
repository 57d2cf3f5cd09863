# `make demo` and `make test` do all set-up by themselves: each target builds the environment
# that it needs, once, and again when setup.cfg has changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
CAUSES := $(VENV)/causes
JOBS ?= 8
CHAOS_S ?= 600
CHAOS_SEED ?=

.PHONY: help check test demo bench causes deaths kills fuzz lifecycle chaos steady matrix clean

help:
	@echo "make demo    a real gunicorn, blocked on purpose, killed and explained (15 s)"
	@echo "make test    all tests"
	@echo "make check   flake8 and mypy"
	@echo "make bench   what the watchdog costs: pictures, idle, import, requests (5 min)"
	@echo "make causes  82 real stalls: is the cause right, the line, what it waits for? (5 min)"
	@echo "make deaths  every way to die, 100 times: told rightly, soon, once; nothing left? (15 min)"
	@echo "make kills   50 kills with all cores busy: was each dumped in time, and rightly?"
	@echo "make lifecycle  boot, drain, abort, signals, reload, forks, pause, load: what uvicorn's worker"
	@echo "             does and what ours does, on gunicorn 22, 23, 25 and the newest"
	@echo "make chaos   stalls, crashes, signals, reloads, floods under load: was all told, and once?"
	@echo "             (CHAOS_S=600 seconds; CHAOS_SEED=11 has the same faults again)"
	@echo "make steady  half an hour of load: memory, descriptors and threads stay the same"
	@echo "make fuzz    a million spoilt recorders are read: no exception, hang, or memory (35 min)"
	@echo "make matrix  a smoke test on every CPython 3.10 to 3.13 found here, and on the oldest"
	@echo "             gunicorn and uvicorn that are supported"

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,check]'
	touch $@

check: $(READY)
	$(BIN)/python -m flake8
	$(BIN)/python -m mypy

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

demo: $(READY)
	$(BIN)/watchdog-worker demo

bench: $(READY)
	$(BIN)/python -m tests.bench.dump
	$(BIN)/python -m tests.bench.idle
	$(BIN)/python -m tests.bench.boundary
	$(BIN)/python -m tests.bench.requests

$(CAUSES): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[causes]'
	touch $@

causes: $(CAUSES)
	$(BIN)/python -m tests.causes

deaths: $(READY)
	$(BIN)/python -m tests.deaths
	$(BIN)/python -m tests.deaths.churn

kills: $(READY)
	$(BIN)/python -m tests.bench.kills

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz.recordings --files 1000000

lifecycle: $(READY)
	$(BIN)/python -m tests.lifecycle

chaos: $(READY)
	$(BIN)/python -m tests.chaos --seconds $(CHAOS_S) $(if $(CHAOS_SEED),--seed $(CHAOS_SEED))

steady: $(READY)
	$(BIN)/python -m tests.steady --minutes 30

matrix:
	PYTHON='$(PYTHON)' tests/matrix.sh

clean:
	rm -rf $(VENV) .venvs build *.egg-info .mypy_cache .pytest_cache
