# Thousands of databases on three controllers in virtual time. Needs no root, no etcd and no Docker.
.PHONY: scale-virtual
VIRTUAL ?= 10000

scale-virtual: venv
	.venv/bin/python -m tests.scale --databases $(VIRTUAL) $(RECORDED)
