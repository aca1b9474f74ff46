# Bugs planted on purpose, one at a time, in a copy of the tree: how many are noticed, and by which tests.
.PHONY: mutants

mutants: venv
	.venv/bin/python -m tests.mutants $(if $(ONLY),"$(ONLY)") $(if $(JOBS),--jobs $(JOBS)) $(RECORDED)
