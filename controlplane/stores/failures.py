"""What a gRPC status from etcd means for the caller: pure, and the one place where etcd's texts are read."""

from __future__ import annotations

from enum import Enum, auto

import grpc
from grpc import StatusCode

from reconcilers.errors import PgswarmError, Refused, Unavailable, UnknownFate

ETCD = "etcd"


class EtcdRefused(Refused):
    """etcd said no; `code` is the gRPC code's name, for use inside this package."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(ETCD, detail)
        self.code = code


class Meaning(Enum):
    LOG_IN = auto()
    """The token is missing, expired or older than the last change of users: log in and send again."""
    NOT_APPLIED = auto()
    """etcd could not take it, and has certainly not applied it."""
    REFUSED = auto()
    LOST = auto()
    """The answer is missing; it may have been applied."""


_TOKEN_TEXTS = (
    "invalid auth token",
    "revision of auth store is old",
    "user name is empty",
    "revision in header is old",
)
_NOT_APPLIED_TEXTS = (
    "no leader",
    "too many requests",
    "failed to connect",
    "not capable",
    "connections to all backends",
)
_LOST_CODES = frozenset(
    {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.CANCELLED,
        StatusCode.UNKNOWN,
        StatusCode.INTERNAL,
        StatusCode.ABORTED,
        StatusCode.DATA_LOSS,
    }
)


def is_token_problem(text: str) -> bool:
    return any(part in text for part in _TOKEN_TEXTS)


def meaning(error: grpc.aio.AioRpcError) -> Meaning:
    text = (error.details() or "").lower()
    if error.code() is StatusCode.UNAUTHENTICATED or is_token_problem(text):
        return Meaning.LOG_IN
    if error.code() in (StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED) and any(
        part in text for part in _NOT_APPLIED_TEXTS
    ):
        return Meaning.NOT_APPLIED
    if "permission denied" in text:  # some calls say so under the code UNKNOWN
        return Meaning.REFUSED
    return Meaning.LOST if error.code() in _LOST_CODES else Meaning.REFUSED


def translate(error: grpc.aio.AioRpcError, *, write: bool) -> PgswarmError:
    """Our error for a gRPC error. With `write` a lost answer is UnknownFate, else Unavailable."""
    detail = f"{error.code().name}: {error.details() or 'no details'}"
    match meaning(error):
        case Meaning.REFUSED | Meaning.LOG_IN:
            return EtcdRefused(error.code().name, error.details() or error.code().name)
        case Meaning.LOST if write:
            return UnknownFate(ETCD, detail)
        case _:
            return Unavailable(ETCD, detail)
