"""Benchmark how text and image are fused for sentiment.

posts → backbones → cache → heads → training → evidence: the frozen backbones run once, their
hidden states and pooled vectors go to HDF5, and every fusion head trains over the cached tensors.

    import mvsa_pipe as mv

    posts = mv.read_posts("data/MVSA_Single.zip")
    caches = mv.extract(posts, ["bert", "dinov2"])
    data = mv.load(posts, caches, split="random-8:1:1")
    run = mv.fit(data, "dual-attention", seed=0)
    run.scores["test"]

Each name is imported when it is first used: ``import mvsa_pipe`` imports neither torch nor NumPy.
"""

from typing import TYPE_CHECKING

from mvsa_pipe.lazy import lazy_names

if TYPE_CHECKING:
    from mvsa_pipe.api.analyze import analyze
    from mvsa_pipe.api.bench import bench, compare
    from mvsa_pipe.api.classifier import FusionClassifier
    from mvsa_pipe.api.data import load
    from mvsa_pipe.api.extract import extract
    from mvsa_pipe.api.posts import read_posts, synthesize
    from mvsa_pipe.api.report import report
    from mvsa_pipe.api.run import evaluate, fit, open_run, reproduce
    from mvsa_pipe.api.tune import tune
    from mvsa_pipe.backbones.own import register_backbone
    from mvsa_pipe.heads.base import FusionHead
    from mvsa_pipe.heads.own import register_head
    from mvsa_pipe.posts.frames import posts_from_dataset, posts_from_frame

__version__ = "0.1.0"

__all__ = [
    "FusionClassifier",
    "FusionHead",
    "analyze",
    "bench",
    "compare",
    "evaluate",
    "extract",
    "fit",
    "load",
    "open_run",
    "posts_from_dataset",
    "posts_from_frame",
    "read_posts",
    "register_backbone",
    "register_head",
    "report",
    "reproduce",
    "synthesize",
    "tune",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "FusionClassifier": "api.classifier",
        "FusionHead": "heads.base",
        "analyze": "api.analyze",
        "bench": "api.bench",
        "compare": "api.bench",
        "evaluate": "api.run",
        "extract": "api.extract",
        "fit": "api.run",
        "load": "api.data",
        "open_run": "api.run",
        "posts_from_dataset": "posts.frames",
        "posts_from_frame": "posts.frames",
        "read_posts": "api.posts",
        "register_backbone": "backbones.own",
        "register_head": "heads.own",
        "report": "api.report",
        "reproduce": "api.run",
        "synthesize": "api.posts",
        "tune": "api.tune",
    },
)
