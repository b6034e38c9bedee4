"""``mvsa extract`` when nothing is to do: 100,000 posts, text and image, files warm.

Files are remembered by their time stamps, so that pictures are not read again; a file younger than
two seconds is never trusted, so the benchmark waits that long first.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import material
from record import seconds_of, summary, write_record

POSTS, REPEATS = 100_000, 3


def main() -> None:
    """Extracts once, then measures the whole command again."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = material.many_posts(POSTS, Path(scratch))
        time.sleep(3)
        command = [
            *(sys.executable, "-m", "mvsa_pipe", "extract", "--data", str(folder)),
            *("--cache", str(Path(scratch) / "cache")),
            *("--backbone", "tiny-text", "--backbone", "tiny-image"),
        ]
        first = seconds_of(lambda: subprocess.run(command, check=True, capture_output=True))
        again = [
            seconds_of(lambda: subprocess.run(command, check=True, capture_output=True))
            for _ in range(REPEATS)
        ]
    results = {"first_seconds": first, "again_seconds": summary(again)}
    write_record("idle", {"posts": POSTS, "repeats": REPEATS}, results)


if __name__ == "__main__":
    main()
