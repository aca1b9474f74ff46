"""The lab's command line: parse, call the lab, print. Exit 0: done, 1: it could not be done."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from clustertest.lab.builder import Seed
from clustertest.lab.errors import LabError
from clustertest.lab.host import SERVICES
from clustertest.lab.lab import Lab, exports, remove_all
from clustertest.lab.packages import ensure_packages
from clustertest.lab.progress import Progress
from clustertest.lab.settings import settings


def up(args: argparse.Namespace) -> int:
    Lab.up(args.hosts, etcd=args.etcd_version, tls=args.tls, pgswarm=not args.no_pgswarm)
    return 0


def down(_: argparse.Namespace) -> int:
    progress = Progress()
    remove_all(settings(), progress)
    progress.say("down")
    return 0


def env(_: argparse.Namespace) -> int:
    print(exports(Lab.attach().environment()))
    return 0


def status(args: argparse.Namespace) -> int:
    lab = Lab.attach()
    rows = lab.status()
    if args.json:
        print(json.dumps({"hosts": rows, "cut": lab.state.cut, "slow": lab.state.slow}, indent=2))
        return 0
    for row in rows:
        services = "  ".join(f"{name}={row[name] or 'down'}" for name in SERVICES)
        print(f"{row['host']}  {row['address']}  {'up  ' if row['up'] else 'down'}  {services}")
    for one, other in lab.state.cut:
        print(f"partition: host-{one} | host-{other}")
    for number, netem in lab.state.slow.items():
        print(f"slow: host-{number} {netem}")
    return 0


def execute(args: argparse.Namespace) -> int:
    return Lab.attach().host(args.host).interactive(args.command)


def images(args: argparse.Namespace) -> int:
    progress = Progress()
    ensure_packages(progress)
    wanted = [("postgres", major) for major in args.major or [17]]
    Seed(settings(), progress).ensure(wanted + ([("controlplane", 0)] if args.controlplane else []))
    try:
        lab = Lab.attach(progress=progress)
    except LabError:
        return 0
    lab.load_images()
    return 0


def fault(verb: str) -> Callable[[argparse.Namespace], int]:
    """A command that is one call of the lab's method of the same name."""

    def command(args: argparse.Namespace) -> int:
        words = {name: value for name, value in vars(args).items() if name in ("only",)}
        getattr(Lab.attach(), verb)(*args.words, **words)
        return 0

    return command


def parser() -> argparse.ArgumentParser:
    text = "A real Swarm of several hosts on one machine."
    top = argparse.ArgumentParser(prog="python -m clustertest.lab", description=text)
    verbs = top.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, action: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(action=action)
        return added

    make = verb("up", up, "make a lab; what an earlier one left is removed first")
    make.add_argument("--hosts", type=int, default=3)
    make.add_argument("--etcd-version", choices=["3.4", "3.5"], default="3.5")
    make.add_argument("--no-pgswarm", action="store_true", help="do not start pgswarm on the hosts")
    make.add_argument("--tls", action="store_true", help="etcd speaks TLS and wants client certificates")
    verb("down", down, "remove the lab, all of it, also after a crash")
    verb("env", env, 'print exports for a shell: eval "$(python -m clustertest.lab env)"')
    verb("status", status, "what runs where").add_argument("--json", action="store_true")

    inside = verb("exec", execute, "run a command inside a host: exec host-1 -- ip address")
    inside.add_argument("host")
    inside.add_argument("command", nargs="+")

    build = verb("images", images, "build the images; load them into a lab that is up")
    build.add_argument("--major", type=int, action="append", help="Postgres major version; may be repeated")
    build.add_argument("--controlplane", action="store_true", help="also pgswarm's own image")

    for name, text in (
        ("kill", "cut a host's power, or SIGKILL one of its services"),
        ("start", "boot a killed host, or start one of its services"),
        ("pause", "SIGSTOP a host or one of its services"),
        ("resume", "SIGCONT a host or one of its services"),
    ):
        added = verb(name, fault(name), text)
        added.add_argument("words", nargs=1, metavar="HOST")
        added.add_argument("--only", choices=SERVICES)
    verb("partition", fault("partition"), "cut A off from B, or from the `rest`").add_argument(
        "words", nargs=2, metavar=("A", "B")
    )
    verb("slow", fault("slow"), "delay what a host sends, e.g. 200ms; 0 ends it").add_argument(
        "words", nargs=2, metavar=("HOST", "DELAY")
    )
    verb("heal", fault("heal"), "end every partition and delay").set_defaults(words=[])
    return top


def interrupted(number: int, _: FrameType | None) -> None:
    """SIGTERM unwinds like an interrupt, so that a lab half made takes itself down."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb."""
    signal.signal(signal.SIGTERM, interrupted)
    args = parser().parse_args(argv)
    try:
        code = int(args.action(args))
        sys.stdout.flush()
        return code
    except LabError as exc:
        print(f"lab: {exc}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader has seen enough (`status | head -1`); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130
