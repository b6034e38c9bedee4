"""What a command costs before it computes, against what ``import torch`` costs in the same round.

Every round starts each command once, in a process of its own, files warm. The time that a process
computed is compared, which other work on the machine lengthens less than the wall.
"""

import os
import subprocess
import sys

from record import processor_seconds_of_children, summary, write_record

ROUNDS = 15
_MVSA = ("-m", "mvsa_pipe")
_TORCH = "import torch"
COMMANDS = {
    _TORCH: ("-c", "import torch"),
    "python": ("-c", "pass"),
    "mvsa --help": (*_MVSA, "--help"),
    "mvsa --version": (*_MVSA, "--version"),
    "mvsa fit --help": (*_MVSA, "fit", "--help"),
    "mvsa heads": (*_MVSA, "heads"),
    "completion of mvsa fi": _MVSA,
    "completion of mvsa fit --head d": _MVSA,
}


def main() -> None:
    """Times all commands and records each one's share of ``import torch``."""
    rounds = [{name: _seconds(name) for name in COMMANDS} for _ in range(ROUNDS + 1)]
    del rounds[0]  # which read the files
    results = {
        name: {
            "processor_seconds": summary([each[name] for each in rounds]),
            "of_import_torch": summary([each[name] / each[_TORCH] for each in rounds]),
        }
        for name in COMMANDS
    }
    write_record("startup", {"rounds": ROUNDS}, results)


def _seconds(name: str) -> float:
    environment = dict(os.environ)
    _, completes, words = name.partition("completion of ")
    if completes:
        last = len(words.split()) - 1
        environment |= {"_MVSA_COMPLETE": "complete_bash", "COMP_WORDS": words}
        environment["COMP_CWORD"] = str(last)
    before = processor_seconds_of_children()
    subprocess.run(
        [sys.executable, *COMMANDS[name]], check=True, capture_output=True, env=environment
    )
    return processor_seconds_of_children() - before


if __name__ == "__main__":
    main()
