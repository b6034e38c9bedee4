"""The command line: one file a verb; each reads options, calls one function, shows its result.

This is the only room that prints. Nothing here imports torch before a verb needs it.
"""

from mvsa_pipe.cli.app import main

__all__ = ["main"]
