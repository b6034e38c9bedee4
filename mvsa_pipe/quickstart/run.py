"""Runs the whole pipeline on synthetic posts: offline, in minutes, with a known ceiling."""

from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.run import run_bench
from mvsa_pipe.benches.summary import Bench
from mvsa_pipe.extraction.extract import extract_all
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.result import Extraction
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.posts import parse_split, read_posts
from mvsa_pipe.posts.synthetic.ceilings import Ceilings
from mvsa_pipe.posts.synthetic.config import Relation
from mvsa_pipe.posts.synthetic.write import realised_ceilings, write_synthetic
from mvsa_pipe.progress import Progress
from mvsa_pipe.quickstart.options import QuickstartOptions
from mvsa_pipe.reports.options import REPORT_FILE, ReportOptions
from mvsa_pipe.reports.write import write_report
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import TrainingOptions

_IMAGE_GRID = 4
# Enough for every fusion head to approach the ceiling: sums on two cores in three minutes, while
# products of both modalities are found after up to 7 epochs at chance.
_SUM_EPOCHS, _EPOCHS = 5, 20


@dataclass(frozen=True)
class Quickstart:
    """Scores of a quickstart, and the best possible ones.

    Attributes:
        data: The folder of synthetic posts.
        backbones: Names of the text and the image backbone.
        extractions: One per backbone.
        bench: All heads over the cache.
        expected: Best possible accuracies, expected over the distribution of posts.
        realised: Accuracies of the same optimal classifiers on the test posts.
        page: The report of the bench.
    """

    data: Path
    backbones: tuple[str, str]
    extractions: list[Extraction]
    bench: Bench
    expected: Ceilings
    realised: Ceilings
    page: Path


def quickstart(options: QuickstartOptions, progress: Progress) -> Quickstart:
    """Writes synthetic posts, extracts them with tiny backbones, benches every head, reports.

    Raises:
        MvsaError: From any of its steps.
    """
    config = options.posts_config
    folder = options.folder / "data" / config.name
    progress.say(f"writing {options.posts:,} synthetic posts to {folder}")
    truth = write_synthetic(folder, config)
    posts = read_posts(folder)
    cache = options.folder / "cache"
    backbones = tiny_backbones(options.relation)
    named = [BackboneOptions(name) for name in backbones]
    extractions = extract_all(posts, named, ExtractOptions(cache=cache), progress)
    data = DataChoice(folder, split="random-6:2:2")
    bench = run_bench(
        data,
        CacheChoice(cache, *backbones, features=FeatureOptions(_IMAGE_GRID)),
        BenchOptions(seeds=options.seeds),
        TrainingOptions(
            epochs=_SUM_EPOCHS if options.relation is Relation.ADDITIVE else _EPOCHS,
            learning_rate=1e-3,
            centre_tokens=options.relation is not Relation.ADDITIVE,
            # scores stay at chance for epochs until a product is found
            patience=0,
            seed=options.seed,
        ),
        progress,
        options.folder / "runs",
    )
    tested = parse_split(data.split, posts, seed=data.split_seed).ids("test")
    realised = realised_ceilings(folder, tested)
    runs = [run.path for run in bench.runs if run.path is not None]
    page = write_report(runs, ReportOptions(output=options.folder / REPORT_FILE), progress)
    return Quickstart(folder, backbones, extractions, bench, truth.expected, realised, page)


def tiny_backbones(relation: Relation) -> tuple[str, str]:
    """The backbones for posts of a relation.

    The pooled vector of a convolutional network also tells where things are; that of tiny-patches
    does not, which the ceiling of pooled vectors assumes.
    """
    return "tiny-text", "tiny-image" if relation is Relation.ADDITIVE else "tiny-patches"
