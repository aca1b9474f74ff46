"""How a command ends: exit codes, and errors as sentences that say what to do. Light to import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

OK, ERROR, USAGE, NOT_FOUND, NOT_READY, UNREACHABLE = range(6)

EXIT_CODES: tuple[tuple[int | str, str], ...] = (
    (OK, "done"),
    (ERROR, "error, or invalid input"),
    (USAGE, "the command line makes no sense"),
    (NOT_FOUND, "there is no such object"),
    (NOT_READY, "not ready, or the time was up"),
    (UNREACHABLE, "etcd (or the API given with --api) cannot be reached"),
    ("128+N", "`run` only: a second signal, number N, ended it before it had handed over"),
)


class Failure(click.ClickException):
    """Ends the command with a sentence on stderr and an exit code."""

    def __init__(self, message: str, code: int = ERROR) -> None:
        super().__init__(message)
        vars(self)["exit_code"] = code  # click declares it on the class and reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"pgswarm: {self.message}", file=file, err=True)


def not_found(kind: str, name: str) -> Failure:
    lists = "pgswarm get --hosts" if kind == "host" else "pgswarm get"
    shown = name if name.isprintable() and name else ascii(name)
    return Failure(f"there is no {kind} {shown}; `{lists}` lists what is there", NOT_FOUND)


@contextmanager
def translated(endpoints: tuple[str, ...] = ()) -> Iterator[None]:
    """Turn our errors into Failures."""
    from controlplane.settings import ConfigError
    from reconcilers.errors import Conflict, PgswarmError, Unavailable, UnknownFate

    try:
        yield
    except ConfigError as exc:
        raise Failure(str(exc)) from exc
    except Unavailable as exc:
        raise Failure(_unreachable(exc, endpoints), UNREACHABLE) from exc
    except UnknownFate as exc:
        raise Failure(f"{exc}; run the same command again, it is safe", UNREACHABLE) from exc
    except Conflict as exc:
        raise Failure(f"{exc}; this was not written, so look at it and run the command again") from exc
    except PgswarmError as exc:
        raise Failure(str(exc)) from exc
    except TimeoutError as exc:
        raise Failure(_unreachable(exc, endpoints), UNREACHABLE) from exc


def _unreachable(error: Exception, endpoints: tuple[str, ...]) -> str:
    lines = [str(error) or "etcd did not answer in time"]
    if endpoints:
        lines.append(f"  tried: {', '.join(endpoints)}")
        lines.append(
            "  to do: is etcd up (`etcdctl endpoint health`)? is this the right address? Give another with"
        )
        lines.append(
            "         --etcd-endpoints or PGSWARM_ETCD_ENDPOINTS; with TLS also --etcd-ca, -cert and -key."
        )
    return "\n".join(lines)
