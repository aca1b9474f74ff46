# The lab's targets; included by the Makefile. HOSTS is how many hosts, LAB_ARGS more words for `up`.
HOSTS ?= 3
LAB_PYTHON ?= python3
LAB = $(LAB_PYTHON) -m clustertest.lab

.PHONY: lab-up lab-down lab-env images chaos

lab-up:
	$(LAB) up --hosts $(HOSTS) $(LAB_ARGS)

lab-down:
	$(LAB) down

lab-env:
	@$(LAB) env

images:
	$(LAB) images $(IMAGES_ARGS)

# Faults at random moments while rows are written; needs the venv, for its Postgres client.
ROUNDS ?= 100
SEED ?= 1
chaos: venv
	.venv/bin/python -m clustertest.chaos --rounds $(ROUNDS) --seed $(SEED) $(CHAOS_ARGS) $(RECORDED)
