# Two commands: `make up` and `make test`. Everything they do is in deploy/; it needs Debian 12 or 13 and root.
.DEFAULT_GOAL := help
.PHONY: help up down test check venv docs lock clean
RECORDED = $(if $(RECORD),--record)

help:
	@echo 'make up          set everything up on this machine and run examples/hello.yaml'
	@echo 'make down        end that and keep the data (PURGE=1: remove the data, too)'
	@echo 'make test        every test, with a real Swarm of three hosts on this machine'
	@echo 'make check       the quick part of it: format, lint, types, imports, unit and contract tests, simulations'
	@echo 'make lab-up      the Swarm that the tests use, to try things (HOSTS=3); lab-env, lab-down'
	@echo 'make images      the Postgres image'
	@echo 'make bench       the figures, measured on a lab of its own'
	@echo 'make scale       what one process costs that owns 10,000 databases (DATABASES=1000)'
	@echo 'make crash-all   every scenario, with every single fault at every effect (ONLY=word)'
	@echo 'make crash-pairs a second fault after each first, in twelve scenarios'
	@echo 'make fuzz        storms of faults, a seed each (SEEDS=20000, FIRST=0)'
	@echo 'make chaos       on a lab: kill what runs at random moments while rows are written (ROUNDS=100, SEED=1)'
	@echo 'make mutants     sixty planted bugs, one by one: how many the tests find'
	@echo 'make model       the fencing protocol, in every order of events within bounds'
	@echo 'make scale-virtual  10,000 databases on three controllers in virtual time (VIRTUAL=1000)'
	@echo '                 the eight above: RECORD=1 keeps what it came to in docs/reliability.json'
	@echo 'make docs        the reference pages, and docs/reliability.md from what was kept'
	@echo 'make venv        .venv with everything, from the lock files'
	@echo 'make lock        the lock files, from pyproject.toml (UPGRADE=1: newest versions)'

up:
	@deploy/run up

down:
	@deploy/run down

test:
	@deploy/run test

check:
	@deploy/run test --quick

venv:
	@deploy/run venv --dev

docs: venv
	.venv/bin/python -m tests.reference

lock:
	@deploy/run lock $(if $(UPGRADE),--upgrade)

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

include clustertest/lab/lab.mk
include bench/bench.mk
include tests/sim/sim.mk
include tests/mutants/mutants.mk
include tests/scale/scale.mk
