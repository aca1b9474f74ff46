"""
The error tree, sorted by what the controller does next.

    PgswarmError
      RetryableError            back off this key and try again
        Unavailable             a dependency refused the call or did not answer in time
        UnknownFate             the call may have happened: re-read before anything else
        Refused                 a dependency said no for a reason that may pass
      Conflict                  somebody changed it since it was read: re-read and plan again, at once
      OwnershipLost             another controller owns the object: drop it, no retry
      TerminalError             stop until the spec changes
        InvalidSpec             the text is not a spec; carries the problems with their places
"""

from __future__ import annotations

from typing import Any


class PgswarmError(Exception):
    """Every error that pgswarm raises on purpose."""

    reason = "Error"


class RetryableError(PgswarmError):
    """The same call may succeed later."""

    reason = "Retry"


class Unavailable(RetryableError):
    """A dependency refused the call or did not answer in time."""

    reason = "Unavailable"

    def __init__(self, dependency: str, detail: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{dependency} did not answer" + (f": {detail}" if detail else ""))
        self.dependency = dependency
        self.retry_after_s = retry_after_s


class UnknownFate(RetryableError):
    """A write was sent and no answer came: it may have been applied."""

    reason = "UnknownFate"

    def __init__(self, dependency: str, detail: str = "") -> None:
        super().__init__(
            f"{dependency} did not say whether it applied the write" + (f": {detail}" if detail else "")
        )
        self.dependency = dependency


class Refused(RetryableError):
    """A dependency answered, and the answer was no."""

    reason = "Refused"

    def __init__(self, dependency: str, detail: str) -> None:
        super().__init__(f"{dependency} refused: {detail}")
        self.dependency = dependency
        self.detail = detail


class Conflict(PgswarmError):
    """The thing changed after it was read; plan again from a new reading."""

    reason = "Conflict"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} changed since it was read")
        self.what = what


class OwnershipLost(PgswarmError):
    """The claim lapsed or another controller holds it."""

    reason = "OwnershipLost"

    def __init__(self, what: str) -> None:
        super().__init__(f"the claim on {what} is no longer ours")
        self.what = what


class TerminalError(PgswarmError):
    """Nothing helps until the spec changes."""

    reason = "Terminal"


class InvalidSpec(TerminalError):
    """The text is not a valid spec; `problems` name place and fix."""

    reason = "InvalidSpec"

    def __init__(self, problems: tuple[Any, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems) or "invalid spec")
        self.problems = problems
