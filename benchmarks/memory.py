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
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.contents import contents_of
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.provenance import peak_memory_bytes

COUNTS = (1000, 4000, 20000)
OVER_MODEL = 128


def main() -> None:
    """Runs the children and records their peaks."""
    with tempfile.TemporaryDirectory() as scratch:
        growth, folders = grown(COUNTS, Path(scratch))
        results = {"growth": growth, "over_model": over_model(folders[COUNTS[0]])}
    write_record("memory", {"counts": list(COUNTS), "posts_over_model": OVER_MODEL}, results)


def over_model(folder: Path) -> dict[str, dict[str, int]]:
    """Peaks of each backbone over some posts of a folder, and above the model alone."""
    chosen = list(material.backbones())
    if material.real():
        chosen += [material.full_size(name) for name in ("bert", "resnet50", "dinov2")]
    found = {}
    for backbone in chosen:
        words = (str(folder), backbone.name, backbone.weights or "")
        peaks = {"model": _child(*words, "0"), "extraction": _child(*words, str(OVER_MODEL))}
        excess = peaks["extraction"] - peaks["model"]
        found[material.label(backbone)] = {**peaks, "bytes": excess}
    return found


def record_over_model() -> None:
    """Records peaks above the model alone."""
    with tempfile.TemporaryDirectory() as scratch:
        results = over_model(material.many_posts(OVER_MODEL, Path(scratch)))
    write_record("memory_over_model", {"posts": OVER_MODEL}, {"over_model": results})


def record_growth(counts: tuple[int, ...]) -> None:
    """Records growth alone, between other numbers of posts."""
    with tempfile.TemporaryDirectory() as scratch:
        growth, _ = grown(counts, Path(scratch))
    name = "_".join(["memory", *map(str, counts)])
    write_record(name, {"counts": list(counts)}, {"growth": growth})


def grown(counts: tuple[int, ...], scratch: Path) -> tuple[dict[str, object], dict[int, Path]]:
    """Peaks of small backbones at each number of posts, and the folders of those posts."""
    growth: dict[str, object] = {}
    folders = {n: material.many_posts(n, scratch / f"of-{n}") for n in counts}
    for name in ("tiny-text", f"hf-image:{material.light_image(scratch)}"):
        peaks = {n: _child(str(folder), name, "", str(n)) for n, folder in folders.items()}
        label = material.label(BackboneOptions(name))
        growth[label] = {"peaks": peaks, "bytes": peaks[counts[-1]] - peaks[counts[0]]}
    return growth, folders


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
            extract(few, backbone, options, NoProgress())
        else:
            session = LoadedBackbone.load(backbone, options)
            session.deviation(contents_of(few, backbone.modality)[0])
    print(peak_memory_bytes())


if __name__ == "__main__":
    if sys.argv[1:2] == ["growth"]:
        record_growth(tuple(map(int, sys.argv[2:])))
    elif sys.argv[1:] == ["over-model"]:
        record_over_model()
    elif len(sys.argv) > 1:
        child(*sys.argv[1:])
    else:
        main()
