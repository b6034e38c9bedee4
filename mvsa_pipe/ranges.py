"""Checks the fields of option dataclasses, and names the option that does not fit."""

from collections.abc import Mapping

from mvsa_pipe.errors import ConfigError

# Beyond any use, and far below where the arithmetic of tensors, lists and schedules breaks down.
MOST_EPOCHS = 1_000_000
MOST_BATCH = 1_000_000
MOST_SEEDS = 10_000
MOST_RESAMPLES = 1_000_000


def require_fitting(options: object, checks: Mapping[str, tuple[bool, str]]) -> None:
    """Refuses the first field of some options whose value does not fit.

    Args:
        options: The dataclass.
        checks: By field: whether its value fits, and what would.

    Raises:
        ConfigError: Names the option as it is typed.
    """
    for name, (fits, expected) in checks.items():
        if not fits:
            raise ConfigError(
                f"--{name.replace('_', '-')} cannot be used",
                expected=expected,
                found=getattr(options, name),
            )


def counted(value: int, least: int, most: int) -> tuple[bool, str]:
    """The check of a whole number between two others, both allowed."""
    return least <= value <= most, f"a whole number from {least:,} to {most:,}"
