"""
Nothing is done at full speed for ever: an action that does not last is tried ever more seldom.

Level-triggered code repeats what it finds undone. Where somebody undoes it at once, or it does not help, that would
be an endless loop of restarts; so the first few times are free, and then each waits twice as long as the one before.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from crds.meta import Key
from reconcilers.actions import Action, CreateService, UpdateService, Waiting, WriteRecords
from reconcilers.ports import Put

FREE = 5
"""Times that the same thing may be done without a pause."""
WINDOW_S = 300.0
"""After this long without it, a repetition counts as the first again."""
PAUSE_MAX_S = 60.0
ABSENT_PAUSE_MAX_S = 0.5
"""For making a service that is gone: it disturbs nothing, and each time somebody must have removed it again."""


class Pace:
    """Memory of what was done lately; bounded by what is planned within the window. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._done: dict[Key, dict[Hashable, tuple[int, float]]] = {}

    def due(self, key: Key, actions: Sequence[Action], now_s: float) -> tuple[Action, ...]:
        return tuple(action for action in actions if self._wait_s(key, action, now_s) <= 0)

    def wait_s(self, key: Key, actions: Iterable[Action], now_s: float) -> float:
        """Seconds until the first of these may be done again."""
        return min((self._wait_s(key, action, now_s) for action in actions), default=0.0)

    def note(self, key: Key, done: Iterable[Action], now_s: float) -> None:
        memory = {
            what: (times, last_s)
            for what, (times, last_s) in self._done.get(key, {}).items()
            if now_s - last_s < WINDOW_S
        }
        for action in done:
            times, _ = memory.get(_meaning(action), (0, 0.0))
            memory[_meaning(action)] = (times + 1, now_s)
        self._done[key] = memory
        if not memory:
            del self._done[key]

    def forget(self, key: Key) -> None:
        self._done.pop(key, None)

    def _wait_s(self, key: Key, action: Action, now_s: float) -> float:
        times, last_s = self._done.get(key, {}).get(_meaning(action), (0, 0.0))
        if times < FREE or now_s - last_s >= WINDOW_S:
            return 0.0
        longest_s = ABSENT_PAUSE_MAX_S if isinstance(action, CreateService) else PAUSE_MAX_S
        pause_s = min(longest_s, 2.0 ** min(times - FREE, 10))
        return last_s + pause_s - now_s


def held_back(actions: Iterable[Action]) -> tuple[Waiting, ...]:
    message = "was done several times lately and did not last; it is tried again, ever more seldom"
    return tuple(Waiting(one.kind, one.name, "DoesNotLast", message, one.change) for one in actions)


def _meaning(action: Action) -> Hashable:
    """What the action brings about, without the revisions and versions that differ each time."""
    match action:
        case WriteRecords():
            return tuple((w.path, w.value if isinstance(w, Put) else None) for w in action.writes)
        case UpdateService():
            return action.service_id, repr(action.spec)
    return str(action)
