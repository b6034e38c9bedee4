"""Every head on posts of every relation, against the ceiling of what the head can compute.

What a head can compute is measured, not declared: a head without hidden states reads pooled
vectors; one whose logits of two texts and two pictures add up crosswise is a sum. A sum is trained
by log-loss, whose least value may belong to a worse sum than the best one: that is computed, too.

    python benchmarks/relations.py [RELATION…]
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import earlier_results, write_record
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from mvsa_pipe.benches.summary import Bench
from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.synthetic.config import Relation
from mvsa_pipe.posts.synthetic.relations import outcomes, unordered
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.quickstart.options import QuickstartOptions
from mvsa_pipe.quickstart.run import quickstart

POSTS = 1600
# A head below its ceiling by more than this many standard errors of a share does not reach it.
ERRORS = 3.0
CONFIGURATION = {"posts": POSTS, "seeds": 1, "errors": ERRORS}


def reads(name: str) -> str:
    """Which ceiling bounds a head: text, image, additive, pooled or fused."""
    kind = HEADS.load(name)
    modalities = {need.modality for need in kind.needs}
    if len(modalities) == 1:
        return "text" if modalities == {Modality.TEXT} else "image"
    if any("hidden" in need.value for need in kind.needs):
        return "fused"
    if not issubclass(kind, FusionHead):
        # a linear model of both vectors is a sum; kernels and trees are not
        return "additive" if name == "logistic" else "pooled"
    width = 256  # a multiple of every number of attention heads
    head = kind.build(FeatureSizes(width, width, 4, 3), kind.Options(), seed=0).eval()
    text, image = torch.randn(2, width), torch.randn(2, width)
    crossed = FeatureBatch(text_pooled=text[[0, 0, 1, 1]], image_pooled=image[[0, 1, 0, 1]])
    with torch.no_grad():
        a, b, c, d = head(crossed)
    return "additive" if torch.allclose(a + d, b + c, atol=1e-5) else "pooled"


def least_loss_sum(relation: Relation, strength: float, noise: float) -> float:
    """Expected accuracy of the sum of a text's and a picture's logits with the least log-loss.

    That is a logistic regression on both cues, fitted to the probabilities of all posts. Equally
    likely classes are guessed among.
    """
    posts = list(outcomes(relation, strength, noise))
    cues = [{"text": seen.text, "image": unordered(seen.image)} for seen, _ in posts]
    labels, weights = [seen.label for seen, _ in posts], np.array([share for _, share in posts])
    read = DictVectorizer(sparse=False).fit_transform(cues)
    model = LogisticRegression(C=1e6, max_iter=10_000).fit(read, labels, sample_weight=weights)
    likely = model.predict_proba(read)
    best = likely >= likely.max(axis=1, keepdims=True) - 1e-3
    own = model.classes_.searchsorted(labels)
    return float((weights * best[np.arange(len(posts)), own] / best.sum(axis=1)).sum())


def reaches(accuracy: float, ceiling: float, posts: int) -> bool:
    """Whether an accuracy is within some standard errors of its ceiling."""
    error = math.sqrt(max(ceiling * (1 - ceiling), 1 / posts) / posts)
    return accuracy >= ceiling - ERRORS * error


def validation(bench: Bench, head: str) -> list[float]:
    """Accuracy on validation after each epoch (or strength) of a head's run."""
    (run,) = (run for run in bench.runs if run.trial.spec.head == head)
    lines = (run.path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [round(json.loads(line)["val_accuracy"], 4) for line in lines]


def measured(relation: Relation) -> dict[str, Any]:
    """Accuracy of each head beside its ceiling on the same test posts."""
    with tempfile.TemporaryDirectory() as folder:
        options = QuickstartOptions(Path(folder), relation, posts=POSTS)
        done = quickstart(options, NoProgress())
        histories = {row.head: validation(done.bench, row.head) for row in done.bench.rows}
    realised = vars(done.realised)
    n_test = len(done.bench.runs[0].predictions["test"].ids)
    heads = {}
    for row in done.bench.rows:
        bound, accuracy = reads(row.head), row.mean["accuracy"]
        ceiling = realised[bound]
        heads[row.head] = {
            "reads": bound,
            "accuracy": round(accuracy, 4),
            "ceiling": round(ceiling, 4),
            "reaches": reaches(accuracy, ceiling, n_test),
            "validation": histories[row.head],
            "seconds": round(row.seconds, 1),
        }
    return {
        "expected": {name: round(value, 4) for name, value in vars(done.expected).items()},
        "realised": {name: round(value, 4) for name, value in realised.items()},
        "test_posts": n_test,
        "backbones": done.backbones,
        "heads": heads,
        "seconds": done.bench.seconds,
    }


def add_least_loss(found: dict[str, Any]) -> None:
    """Puts what the sum of least log-loss reaches beside the heads that are sums."""
    options = QuickstartOptions()
    for relation, own in found.items():
        share = least_loss_sum(Relation(relation), options.strength, options.noise)
        for row in own["heads"].values():
            if row["reads"] == "additive":
                row["least_loss"] = round(share, 4)


def shown(own: dict[str, Any], posts: int) -> str:
    """Accuracy of ceiling in %; then ✗ below it, ○ where the least log-loss lies below it."""
    text = f"{100 * own['accuracy']:.1f} of {100 * own['ceiling']:.1f}"
    if own["reaches"]:
        return text
    learnt = "least_loss" in own and reaches(own["accuracy"], own["least_loss"], posts)
    return f"{text} {'○' if learnt else '✗'}"


def as_markdown(found: dict[str, Any]) -> str:
    """A row a head and a column a relation: accuracy and ceiling in %, with a mark below it."""
    relations = [relation for relation in Relation if relation in found]
    lines = [
        f"| head | bounded by | {' | '.join(relations)} |",
        "|---|---|" + "---|" * len(relations),
    ]
    for row in HEADS:
        cells = [found[relation]["heads"].get(row.name) for relation in relations]
        if not all(cells):
            continue
        each = [shown(own, found[r]["test_posts"]) for own, r in zip(cells, relations, strict=True)]
        lines.append(f"| `{row.name}` | {cells[0]['reads']} | {' | '.join(each)} |")
    return "\n".join(lines)


def main(relations: tuple[str, ...]) -> None:
    """Measures some relations; the record keeps the others as they were."""
    for relation in relations:
        own = measured(Relation(relation))
        found = earlier_results("relations") | {relation: own}
        add_least_loss(found)
        write_record("relations", CONFIGURATION, found)
    print(as_markdown(earlier_results("relations")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("relations", nargs="*", default=list(Relation), metavar="RELATION")
    main(tuple(parser.parse_args(sys.argv[1:]).relations))
