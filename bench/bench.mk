# The benchmark; included by the Makefile. BENCH_ARGS: more words, such as `--only repair`.
BENCH_PYTHON ?= .venv/bin/python

.PHONY: bench
bench:
	$(BENCH_PYTHON) -m bench $(BENCH_ARGS) $(RECORDED)
