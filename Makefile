# Everything starts here; the work is in small scripts. Needs: Debian/Ubuntu, Python >= 3.11 with venv, make.
# From the environment: PORT (8000), HOST (127.0.0.1), VAR_DIR (var/), DATABASE_URL, REDIS_URL, DJANGO_ENV.
unexport PYTHONDONTWRITEBYTECODE  # compiled modules halve every start
PYTHON ?= python3
RUN = .venv/bin/python
MANAGE = $(RUN) manage.py
PROCESSES ?= 2
FILES ?=
N ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test bench faults races check cases demo lock clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup:
	@$(PYTHON) config/bootstrap.py

setup-dev:
	@$(PYTHON) config/bootstrap.py --dev

run: setup  ## the portal with demonstration data on http://127.0.0.1:$PORT; Ctrl-C stops it
	@exec $(RUN) -m config.run

test: setup-dev  ## the whole test suite
	@$(RUN) -m pytest -n $(PROCESSES) --dist loadgroup $(ARGS)

bench: setup-dev  ## figures as JSON lines, a table, docs/benchmarks.md; N= claims in the batch
	@$(MANAGE) bench $(if $(N),--n $(N))

faults: setup-dev  ## kills processes at every fail point, and servers; SEEDS= plans, ONLY= part of a fault's name
	@DJANGO_ENV=test $(MANAGE) faults --seeds $(or $(SEEDS),2) $(if $(ONLY),--only $(ONLY))

races: setup-dev  ## races with real threads in full size: some minutes
	@RACES=full $(RUN) -m pytest -q tests/settlement/test_races.py $(ARGS)

check: setup-dev  ## lint, format, types, import line, templates, migrations, production settings
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .ci/check

cases: setup  ## settles case files: make cases FILES='a.json b.json'
	@$(MANAGE) migrate --noinput -v0 && $(MANAGE) prepare && $(MANAGE) cases $(FILES)

demo: setup  ## makes the demonstration data of VAR_DIR
	@$(MANAGE) migrate --noinput -v0 && $(MANAGE) load_policies && $(MANAGE) demo

lock: setup-dev  ## compiles requirements*.in into hash-pinned requirements*.txt (needs uv)
	@.ci/lock

clean:  ## removes the environment and caches; data in VAR_DIR stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +
