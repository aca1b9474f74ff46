"""
An explicit-state model of the fencing protocol, next to the code that it models.

rules.py        what the protocol demands, each a switch: the seven rules, the deadline, and more
state.py        the world as one hashable value: etcd, Swarm, volumes, controllers, requests under way
controller.py   what an owner does with a reading; follows reconcilers/database/{plan,acceptance,rollout,removal}.py
environment.py  what a request does when it arrives, if it is still accepted
checks.py       what must never be
users.py        what users do
moves.py        every step that anybody may take
search.py       breadth-first search, shortest trace, and whether the end stays reachable
words.py        requests in traces
scenarios.py    what users do, how far each scenario goes, and what must be found in it

`python -m tests.model` says what it can do.
"""
