"""A whole bench against the sum of its parts, and how long a command takes to its first step.

The parts are loading, training and scoring, the last two shared by the cores; what is above them is
waiting, bookkeeping and cores that ran out of work.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import material
import torch
from record import seconds_of, write_record

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.run import run_bench
from mvsa_pipe.devices import usable_cores
from mvsa_pipe.extraction.extract import extract_all
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import TrainingOptions

SEEDS, EPOCHS = 2, 1
HEADS = ("text", "native-cat", "ote", "basic", "gated", "cmac", "dual-attention", "co-attention")


def main() -> None:
    """Extracts a few hundred synthetic posts, benches them, and starts one fit from outside."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data, cache = material.write_synthetic_folder(scratch), scratch / "cache"
        tiny = [BackboneOptions("tiny-text"), BackboneOptions("tiny-image")]
        extract_all(read_posts(data), tiny, ExtractOptions(cache=cache), NoProgress())
        training = TrainingOptions(epochs=EPOCHS, device="cpu")
        done = run_bench(
            DataChoice(data),
            CacheChoice(cache, features=FeatureOptions(4)),
            BenchOptions(heads=HEADS, seeds=SEEDS),
            training,
            NoProgress(),
        )
        spent = done.seconds
        cores = usable_cores()
        parts = spent["loading"] + (spent["training"] + spent["scoring"]) / cores
        words = ["fit", "--head", "native-cat", "--epochs", "1", "--data", data, "--cache", cache]
        command = [sys.executable, "-m", "mvsa_pipe", *map(str, words), "--runs", folder]
        results = {
            "seconds": spent,
            "cores": cores,
            "wall_over_parts": round(spent["wall"] / parts, 4),
            "fit_from_start_to_end_seconds": round(
                seconds_of(lambda: subprocess.run(command, check=True, capture_output=True)), 3
            ),
        }
    configuration = {"heads": HEADS, "seeds": SEEDS, "epochs": EPOCHS, "posts": 300}
    write_record("sweep", configuration, results)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
