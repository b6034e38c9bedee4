"""Peers of this project, side by side with it: same posts, same weights, same outputs.

``python benchmarks/peers.py --part text`` measures one part alone: text, pictures, storage, heads.
Needs the extra ``peers``. Every part compares outputs first and refuses to time different ones. A
part is skipped, and its earlier record kept, where posts, weights or the peer are missing. With
``--posts`` or ``--rounds`` results are printed and not recorded: that is a check.
"""

import argparse
import importlib.util
import json
import tempfile
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import material
import peer_heads
import peer_pictures
import peer_storage
import peer_text
from record import earlier_results, write_record
from rounds import BUSY_CORES, two_sides

from mvsa_pipe.provenance import now

PARTS = {
    "text": peer_text,
    "pictures": peer_pictures,
    "storage": peer_storage,
    "heads": peer_heads,
}
# Names of packages where those of their modules differ.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "sentence_transformers": "sentence-transformers"}
ROUNDS = 3


def main() -> None:
    """Measures all parts, or those that are named, and records the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--part", choices=PARTS, action="append", help="repeatable; default: all")
    parser.add_argument("--posts", type=int, help="fewer posts, for a check")
    parser.add_argument("--rounds", type=int, help="other rounds, for a check")
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    for name in asked.part or PARTS:
        reason = missing(PARTS[name])
        if reason:
            print(f"{name} skipped: {reason}")
        else:
            found[name] = _measured(PARTS[name], asked.posts, asked.rounds or ROUNDS)
    if asked.posts or asked.rounds:
        print(json.dumps(found, indent=2))
    elif found:
        configuration = {"busy_cores": BUSY_CORES, "marked": "* where other processes took more"}
        write_record("peers", configuration, earlier_results("peers") | found)


def missing(part: ModuleType) -> str:
    """Why a part cannot be measured here; empty if it can."""
    if not material.real():
        return "there are no real posts and weights in ../shared"
    absent = [name for name in part.REQUIRES if importlib.util.find_spec(name) is None]
    return f"no {', '.join(absent)}: pip install '.[peers]'" if absent else ""


def _measured(part: ModuleType, posts: int | None, rounds: int) -> dict[str, Any]:
    """Configuration and ratios of one part; parts may be measured at different times."""
    count = posts or part.POSTS
    with tempfile.TemporaryDirectory() as scratch, two_sides() as sides:
        ratios = part.measure(count, rounds, sides, Path(scratch))
    versions = {name: metadata.version(DISTRIBUTIONS.get(name, name)) for name in part.REQUIRES}
    return {"written": now(), "peers": versions, "posts": count, "rounds": rounds, **ratios}


if __name__ == "__main__":
    main()
