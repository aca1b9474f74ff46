"""
Bugs planted on purpose, one at a time: does anything notice?

Each is a small patch; `mutants.toml` says what it plants, against which rule, and which tests must find it. `make
mutants` plants them one by one in a copy of the tree and says how many were found, and by which layer.
"""
