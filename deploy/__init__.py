"""
`make up`, `make down`, `make test`: from a bare Debian to a running database or to a verdict.

Runs before there is a venv, so only the standard library. What a lab of several hosts needs as well (running
commands, knowing a process again, fetching etcd) is imported from clustertest.lab.
"""
