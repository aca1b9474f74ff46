# The lab's targets; included by the Makefile. HOSTS is how many hosts, LAB_ARGS more words for `up`.
HOSTS ?= 3
LAB_PYTHON ?= python3
LAB = $(LAB_PYTHON) -m clustertest.lab

.PHONY: lab-up lab-down lab-env images

lab-up:
	$(LAB) up --hosts $(HOSTS) $(LAB_ARGS)

lab-down:
	$(LAB) down

lab-env:
	@$(LAB) env

images:
	$(LAB) images $(IMAGES_ARGS)
