# The whole of pgswarm in virtual time, under every fault; and the model of its fencing. They need no root.
# SIM_ARGS: more words for crash-all, such as `--every 1` for every call.
.PHONY: crash-all crash-pairs fuzz model
SEEDS ?= 20000
FIRST ?= 0

crash-all: venv
	.venv/bin/python -m tests.sim crash-all $(if $(ONLY),--only "$(ONLY)") $(SIM_ARGS) $(RECORDED)

crash-pairs: venv
	.venv/bin/python -m tests.sim crash-pairs $(if $(ONLY),--only "$(ONLY)") $(RECORDED)

fuzz: venv
	.venv/bin/python -m tests.sim fuzz --seeds $(SEEDS) --first $(FIRST) $(RECORDED)

model: venv
	.venv/bin/python -m tests.model full $(RECORDED)
