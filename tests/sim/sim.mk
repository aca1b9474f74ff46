# The whole of pgswarm in virtual time, under every fault; and the model of its fencing. They need no root.
.PHONY: crash-all crash-pairs fuzz model
SEEDS ?= 20000
FIRST ?= 0

crash-all: venv
	.venv/bin/python -m tests.sim crash-all $(if $(ONLY),--only "$(ONLY)")

crash-pairs: venv
	.venv/bin/python -m tests.sim crash-pairs $(if $(ONLY),--only "$(ONLY)")

fuzz: venv
	.venv/bin/python -m tests.sim fuzz --seeds $(SEEDS) --first $(FIRST)

model: venv
	.venv/bin/python -m tests.model full
