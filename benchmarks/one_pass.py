"""Three image backbones fed in one pass against three passes, where decoding bounds the run.

The pictures are as large as a camera's: on a CPU decoding bounds nothing else. All three backbones
have the same preprocessing, which is then done once for all of them.
"""

import shutil
import tempfile
from pathlib import Path

import material
from record import summary, write_record

from mvsa_pipe.extraction.extract import extract_all
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.progress import NoProgress

POSTS, SCALE, REPEATS = 120, 5, 3
NAMES = ("mobilenet_v3_small", "mobilenet_v3_large", "squeezenet1_1")


def main() -> None:
    """Measures both and records their ratio."""
    chosen = [material.convolutional(name) for name in NAMES]
    ratios, profiles = [], {}
    with tempfile.TemporaryDirectory() as folder:
        posts = material.enlarged(material.posts(POSTS, Path(folder)), SCALE, Path(folder))
        cache = Path(folder) / "cache"
        options = ExtractOptions(cache=cache, precision="float32")
        for _ in range(REPEATS):
            together = extract_all(posts, chosen, options, NoProgress())[0]
            shutil.rmtree(cache)
            apart = [extract_all(posts, [b], options, NoProgress())[0] for b in chosen]
            shutil.rmtree(cache)
            ratios.append(_running(together) / sum(map(_running, apart)))
            profiles = {"together": together.profile, "first_alone": apart[0].profile}
    results = {"one_pass_over_three": summary(ratios), **profiles}
    write_record(
        "one_pass",
        {"posts": POSTS, "scale": SCALE, "repeats": REPEATS, "backbones": NAMES},
        results,
    )


def _running(done: object) -> float:
    phases = done.profile["phases"]
    return phases["compute"] + phases["await_disk"]


if __name__ == "__main__":
    main()
