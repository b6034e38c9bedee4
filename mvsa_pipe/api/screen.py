"""Progress of the library: the screen of the command line, where there is one."""

from collections.abc import Iterator
from contextlib import contextmanager

from mvsa_pipe.progress import NoProgress, Progress


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """A bar in a notebook or on a terminal, which is removed even if the step fails.

    Elsewhere nothing is written: a program's own output stays its own.
    """
    from mvsa_pipe.cli.screen import draws, progress  # rich, which computing does not need

    if draws():
        with progress() as screen:
            yield screen
    else:
        yield NoProgress()
