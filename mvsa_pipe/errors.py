"""Errors for users of mvsa-pipe, each one paragraph."""

from collections.abc import Iterable
from typing import Any

# Hint of errors about a run folder that cannot be used.
FIT_AGAIN = "mvsa fit with the same options makes the run again"


class MvsaError(Exception):
    """An error that the user can correct: the problem, where it is, and what to do next.

    Args:
        what: The problem, as a sentence without its full stop.
        where: The file, row, post or option with the problem.
        expected: What would be valid.
        found: What is there instead.
        hint: The next command, or the next thing to try.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: str | None = None,
        found: object = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.expected = expected
        self.found = None if found is None else str(found)
        self.hint = hint
        super().__init__(self.paragraph())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles for other processes, whichever arguments a subclass takes."""
        return _unpickled, (type(self), self.args, self.__dict__)

    def paragraph(self) -> str:
        """The whole message as one paragraph."""
        parts = [self.what if self.where is None else f"{self.what} ({self.where})"]
        if self.expected is not None:
            parts.append(f"Expected {self.expected}")
        if self.found is not None:
            parts.append(f"Found {self.found}")
        if self.hint is not None:
            parts.append(f"Next: {self.hint}")
        return " ".join(part if part.endswith((".", "?")) else f"{part}." for part in parts)


def _unpickled(kind: type[MvsaError], args: tuple[Any, ...], state: dict[str, Any]) -> MvsaError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ConfigError(MvsaError):
    """An option or a configuration field has a value that cannot be used."""


class UnknownNameError(ConfigError):
    """A name is not in its table."""


class DataError(MvsaError):
    """Posts, labels or images cannot be read."""


class SplitError(MvsaError):
    """A split does not fit the posts that it divides."""


class BackboneError(MvsaError):
    """A backbone or its weights cannot be loaded."""


class CacheError(MvsaError):
    """A feature cache is missing or damaged, or its content differs from what was requested."""


class RunError(MvsaError):
    """A run folder is missing, incomplete, or does not fit the request."""


class StorageError(MvsaError):
    """The disk refused: full, read-only, or not permitted."""


def name_some(names: Iterable[str], most: int = 10) -> str:
    """Joins at most ``most`` names with commas, followed by the number of the others."""
    listed = list(names)
    shown = ", ".join(listed[:most])
    return shown if len(listed) <= most else f"{shown} and {len(listed) - most:,} more"
