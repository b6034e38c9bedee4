"""Peak memory of an extraction at 1,000, 4,000 and 20,000 posts, and above the model alone.

Each extraction runs in a process of its own, reads a folder of just so many posts, and its greatest
resident size is read at its end. The model alone is the same process after one forward pass over a
batch. Growth is measured with small models, so that 20,000 posts pass in a minute or two.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import material
from record import write_record

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.extraction.contents import contents_of
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.session import Session
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import Silence
from mvsa_pipe.provenance import peak_memory_bytes

COUNTS = (1000, 4000, 20000)
OVER_MODEL = 128


def main() -> None:
    """Runs the children and records their peaks."""
    growth, over_model = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        folders = {n: material.many_posts(n, Path(scratch)) for n in COUNTS}
        for name in ("tiny-text", f"hf-image:{material.light_image(Path(scratch))}"):
            peaks = {n: _child(str(folder), name, "", str(n)) for n, folder in folders.items()}
            least, most = peaks[COUNTS[0]], peaks[COUNTS[-1]]
            label = material.label(BackboneOptions(name))
            growth[label] = {"peaks": peaks, "bytes": most - least}
        chosen = list(material.backbones())
        if material.real():
            chosen += [material.full_size(name) for name in ("bert", "resnet50", "dinov2")]
        for backbone in chosen:
            words = (str(folders[COUNTS[0]]), backbone.name, backbone.weights or "")
            peaks = {"model": _child(*words, "0"), "extraction": _child(*words, str(OVER_MODEL))}
            excess = peaks["extraction"] - peaks["model"]
            over_model[material.label(backbone)] = {**peaks, "bytes": excess}
    results = {"growth": growth, "over_model": over_model}
    write_record("memory", {"counts": list(COUNTS), "posts_over_model": OVER_MODEL}, results)


def _child(*words: str) -> int:
    child = [sys.executable, __file__, *words]
    done = subprocess.run(child, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def child(folder: str, name: str, weights: str, count: str) -> None:
    """Extracts some posts, or none but for loading the model; prints this process's peak."""
    posts = read_posts(Path(folder))
    few = type(posts)(**{**vars(posts), "posts": posts.posts[: int(count) or 1]})
    backbone = BackboneOptions(name, weights or None)
    with tempfile.TemporaryDirectory() as cache:
        options = ExtractOptions(cache=Path(cache), precision="float32")
        if int(count):
            extract(few, backbone, options, Silence())
        else:
            session = Session.load(backbone, options)
            session.deviation(contents_of(few, backbone.modality)[0])
    print(peak_memory_bytes())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(*sys.argv[1:])
    else:
        main()
