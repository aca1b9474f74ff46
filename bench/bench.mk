# The benchmark; included by the Makefile. BENCH_ARGS: more words, such as `--only repair`.
BENCH_PYTHON ?= .venv/bin/python

.PHONY: bench
bench:
	$(BENCH_PYTHON) -m bench $(BENCH_ARGS) $(RECORDED)

# One real process that owns DATABASES databases, with a real etcd and an engine that only says it runs. Needs no root.
DATABASES ?= 10000
.PHONY: scale
scale:
	$(BENCH_PYTHON) -m bench.scale --databases $(DATABASES)
