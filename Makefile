# `make demo` and `make test` do all set-up from a bare checkout; the second time they start at once.
PY := .venv/bin/python
UV := .venv/bin/uv
STAMP := .venv/.ready
BENCH_STAMP := .venv-bench/.ready
# Modules compiled by Python are kept, even where the environment says no: with them a worker starts in half the time.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo test chaos hostile bench bench-quick lint schemas lock clean
setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	python3.11 -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check uv
	$(UV) pip install -q -r requirements.lock
	$(UV) pip install -q --no-deps -e .
	@echo "compiling the kernels (once)"
	@$(PY) -m streams.warmup
	touch $@

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check schemas streams tests benchmarks
	.venv/bin/mypy
	.venv/bin/lint-imports

test: lint
	$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Kills, freezes and cuts off workers and their broker for many minutes; CROSSMARGIN_CHAOS_SEED repeats a run.
chaos: setup
	CROSSMARGIN_CHAOS=1 $(PY) -m pytest -s --timeout 1800 tests/faults/test_campaign.py tests/faults/test_source_faults.py \
	  tests/faults/test_worker_faults.py tests/faults/test_transport_faults.py tests/worker/test_worker_cold_start.py tests/worker/test_worker_spare.py \
	  tests/worker/test_worker_pages.py tests/replay/test_replay_import.py tests/kafka/test_kafka_group.py

# 100,000 hostile messages among as many good ones, through a real worker.
hostile: setup
	$(PY) -m tests.worker.hostile 100000

# All benchmarks, peers beside us, one report: build/bench/index.html (docs/benchmarks.md). Leave the machine alone.
bench: setup $(BENCH_STAMP)
	$(PY) -m benchmarks

# The same at sizes that only show that everything works.
bench-quick: setup $(BENCH_STAMP)
	$(PY) -m benchmarks --quick

$(BENCH_STAMP): benchmarks/peers/requirements.lock | setup
	python3.11 -m venv .venv-bench
	$(UV) pip install -q --python .venv-bench/bin/python -r benchmarks/peers/requirements.lock
	touch $@

demo: setup
	.venv/bin/crossmargin demo

schemas: setup
	.venv/bin/crossmargin schemas --write docs/schemas

lock: setup
	$(UV) pip compile -q --upgrade pyproject.toml --extra dev --extra devbroker --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate -o requirements.lock
	$(UV) pip compile -q --upgrade benchmarks/peers/requirements.in --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate -o benchmarks/peers/requirements.lock

clean:
	rm -rf .venv .venv-bench .kafka build
