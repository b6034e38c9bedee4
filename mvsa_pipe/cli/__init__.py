"""The command line: one file a verb; each reads options, calls one function, shows its result.

This is the only room that prints. Nothing here imports torch before a verb needs it.
"""

import sys


def main() -> None:
    """Runs the command line, whatever moment Ctrl-C comes at."""
    try:
        from mvsa_pipe.cli.app import main as run

        run()
    except KeyboardInterrupt:  # while Python was still importing
        sys.stderr.write("interrupted: nothing was done yet\n")
        sys.exit(130)


__all__ = ["main"]
