"""
What one real `pgswarm run` costs that owns ten thousand databases: a real etcd, and an engine that only says it runs.

Nothing leaves this machine: etcd listens on loopback, the engine on a unix socket. No root is needed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.figures import Figure, document, percentile, table
from bench.quiet import HEARTBEAT
from bench.scale_stage import Scale, stage
from bench.usage import Usage
from reconcilers import paths
from tests.scale.fleet import Maker, Terms

OUT = Path(__file__).parent / "out" / "scale.json"
DATABASES = 10_000
RECORDS = 17
"""In etcd, a database."""
COLD_START_GOAL_S = 30.0
"""For DATABASES; for fewer it is less in proportion."""
RSS_GOAL_MB = 40.0
PASSES_GOAL = 3000.0
LATENCY_GOAL_S = 1.0
LIMIT_S = 480.0
WAVES = 3
REMOVALS, REMOVAL_PAUSE_S = 200, 0.15
QUIET_S = 60.0
EMPTY_S = 6.0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--databases", type=int, default=DATABASES)
    parser.add_argument("--only-start", action="store_true", help="cold start and memory")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(argv)
    began_s = time.monotonic()

    def say(text: str) -> None:
        print(f"scale {time.monotonic() - began_s:6.1f}s  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="pgswarm-scale-") as folder:
        figures = [*measured(Path(folder), args.databases, say, only_start=args.only_start)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(document(figures, {"databases": args.databases}))
    print(table(figures))
    return 0


def measured(folder: Path, count: int, say: Callable[[str], None], *, only_start: bool) -> Iterator[Figure]:
    """Raises: AssertionError, TimeoutError."""
    empty_mb = empty(folder / "empty", say)
    (folder / "full").mkdir()
    with stage(folder / "full", count, say) as scale:
        yield from cold_start(scale, count)
        yield memory(scale, count, empty_mb)
        if only_start:
            return
        yield scrape(scale)
        yield from no_op_passes(scale, count)
        yield from latency(scale, count)
        yield from quiet(scale)


def empty(folder: Path, say: Callable[[str], None]) -> float:
    """Megabytes of a process without any database."""
    folder.mkdir()
    with stage(folder, 0, say) as scale:
        scale.start()
        time.sleep(EMPTY_S)
        return scale.usage().rss_mb


# --- one figure each ---


def cold_start(scale: Scale, count: int) -> Iterator[Figure]:
    def reached(what: str) -> Callable[[], bool | None]:
        return lambda: True if scale.asked("progress")[what] >= count else None

    began_s = scale.start()
    moments = {}
    for name, what in (("all claimed", "owned"), ("all reported", "reported"), ("all Ready again", "ready")):
        at_s, _ = scale.until(name, reached(what), LIMIT_S)
        moments[name] = at_s - began_s
        scale.say(f"{name} after {moments[name]:.1f} s, {scale.usage().cpu_s:.1f} s of processor")
    scale.calm(LIMIT_S)
    calls, writes = Counter(scale.asked("calls")), Counter(scale.asked("writes"))
    scale.say(f"passes {dict(scale.passes())}")
    yield Figure(
        what=f"cold start: {count} databases owned, and each has its status from its new owner",
        ours=moments["all reported"],
        unit="s",
        goal=COLD_START_GOAL_S * count / DATABASES,
        strict=True,
        notes=(
            f"{', '.join(f'{name} {at_s:.1f} s' for name, at_s in moments.items())}; "
            f"{scale.usage().cpu_s:.1f} s of processor until calm",
            f"Docker calls: {dict(calls.most_common(8))}",
            f"etcd records written: {dict(writes)}",
        ),
    )


def memory(scale: Scale, count: int, empty_mb: float) -> Figure:
    rss_mb = scale.usage().rss_mb
    return Figure(
        what="memory of 1,000 databases",
        ours=(rss_mb - empty_mb) / count * 1000,
        unit="MB RSS",
        goal=RSS_GOAL_MB,
        strict=True,
        notes=(f"{rss_mb:.0f} MB with {count}, {empty_mb:.0f} MB with none",),
    )


def scrape(scale: Scale) -> Figure:
    began_s, before = time.monotonic(), scale.usage()
    scale.metrics()
    took_s = time.monotonic() - began_s
    return Figure(
        what="one scrape of the metrics",
        ours=took_s,
        unit="s",
        goal=1.0,
        notes=(f"{scale.usage().cpu_s - before.cpu_s:.2f} s of processor",),
    )


def no_op_passes(scale: Scale, count: int) -> Iterator[Figure]:
    """Every database is woken by a host's record: once as it was, which changes nothing, and once changed."""
    path, value = next(Maker(Terms()).host_records())
    key = f"/pgswarm/v1/{path}"
    assert path.startswith(paths.HOSTS)
    texts: dict[str, Callable[[int], bytes]] = {
        "see nothing new": lambda number: value,
        "plan anew, and find nothing to do": lambda number: value.replace(b'"0"', b'"%d"' % number),
    }
    # Each has been looked at since it last had something to say; until then a pass plans, whatever woke it.
    scale.etcd.ctl("put", key, value.decode())
    settled(scale, scale.usage())
    for name, text in texts.items():
        before_passes, before = scale.passes(), scale.calm(LIMIT_S)
        wall_s = 0.0
        for number in range(1, WAVES + 1):
            began_s, busy = time.monotonic(), scale.usage()
            scale.etcd.ctl("put", key, text(number).decode())
            busy = settled(scale, busy)
            wall_s += time.monotonic() - began_s
        used_s = busy.cpu_s - before.cpu_s
        passes = scale.passes() - before_passes
        yield Figure(
            what=f"a pass of those that {name}",
            ours=used_s / passes.total() * 1e6,
            unit="us of processor",
            goal=1e6 / PASSES_GOAL,
            notes=(
                f"{passes.total() / used_s:.0f} passes a second of processor (goal {PASSES_GOAL:.0f}), "
                f"{passes.total() / wall_s:.0f} by the clock; {dict(+passes)}",
            ),
        )


def settled(scale: Scale, before: Usage) -> Usage:
    """When the wave is over."""
    scale.until(
        "the wave begins", lambda: True if scale.usage().cpu_s > before.cpu_s + 0.02 else None, 10, 0.02
    )
    return scale.calm(LIMIT_S)


def latency(scale: Scale, count: int) -> Iterator[Figure]:
    """Services are removed by hand; each is asked for again."""
    known = len(scale.asked("created"))
    services = [one["Spec"]["Name"] for one in scale.control.listed("services")]
    instances = sorted(name for name in services if not name.endswith("-fence"))
    victims = instances[:: max(1, len(instances) // REMOVALS)][:REMOVALS]
    dropped = {}
    for name in victims:
        dropped[name] = scale.control.call("POST", "control/drop", {"name": name})
        time.sleep(REMOVAL_PAUSE_S)

    def created() -> dict[str, int] | None:
        found = dict(scale.asked("created")[known:])
        return found if found.keys() >= dropped.keys() else None

    _, asked = scale.until("every service is back", created, LIMIT_S)
    took_s = [(asked[name] - at_ns) / 1e9 for name, at_ns in dropped.items()]
    yield Figure(
        what=f"service removed -> asked for again, while {count} databases exist, p99 of {len(took_s)}",
        ours=percentile(took_s, 99),
        unit="s",
        goal=LATENCY_GOAL_S,
        samples={"seconds": took_s},
        notes=(f"p50 {percentile(took_s, 50):.3f} s; from the engine's event to the create request",),
    )


def quiet(scale: Scale) -> Iterator[Figure]:
    scale.calm(LIMIT_S)
    time.sleep(10)
    passes, before = scale.passes(), scale.usage()
    writes, calls = Counter(scale.asked("writes")), Counter(scale.asked("calls"))
    time.sleep(QUIET_S)
    done, after = Counter(scale.asked("writes")) - writes, Counter(scale.asked("calls")) - calls
    used = scale.usage()
    made = Counter({name: n for name, n in after.items() if name not in HEARTBEAT and "control" not in name})
    looked = (scale.passes() - passes).total()
    cpu = (used.cpu_s - before.cpu_s) / QUIET_S * 100
    yield Figure(
        what="etcd writes in a minute in which nothing happens",
        ours=done.total(),
        unit="",
        goal=0,
        notes=(f"{looked} passes meanwhile, {cpu:.1f}% of a core; {dict(done)}",),
    )
    yield Figure(
        what="Docker calls in that minute, without the heartbeat's",
        ours=made.total(),
        unit="",
        goal=12,
        notes=(f"the resync reads everything once a minute: {dict(made)}",),
    )


if __name__ == "__main__":
    sys.exit(main())
