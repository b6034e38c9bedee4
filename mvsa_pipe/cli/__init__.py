"""The command line: one file per verb parses options, calls one function and prints its result.

Only this package prints. It imports torch only when a verb needs it.
"""

import gc
import sys

from mvsa_pipe.cli.spinning import ProcessorTimes, limit_spinning
from mvsa_pipe.cli.streams import require_utf8_names, secure_streams

# Allocations between two garbage collections. Repeated scans of lists of 100,000 posts, which are
# never freed, took an eighth of the time.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def main() -> None:
    """Runs the command line; handles Ctrl-C at any moment and closed output pipes."""
    started = ProcessorTimes.now()
    require_utf8_names()
    secure_streams()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)
    try:
        from mvsa_pipe.cli.app import main as run

        limit_spinning(started)
        run()
    except KeyboardInterrupt:  # while Python was still importing
        sys.stderr.write("interrupted: nothing was done yet\n")
        sys.exit(130)


__all__ = ["main"]
