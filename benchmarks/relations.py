"""Every head on posts of every relation, against the ceiling of what the head can compute.

What a head can compute is measured, not declared: a head without hidden states reads pooled
vectors; one whose logits of two texts and two pictures add up crosswise is a sum.

    python benchmarks/relations.py [RELATION…]
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from record import earlier_results, write_record

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.synthetic.config import Relation
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.quickstart.options import QuickstartOptions
from mvsa_pipe.quickstart.run import quickstart

POSTS = 1600
# A head below its ceiling by more than this many standard errors of a share does not reach it.
ERRORS = 3.0


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


def measured(relation: Relation) -> dict[str, Any]:
    """Accuracy of each head beside its ceiling on the same test posts."""
    with tempfile.TemporaryDirectory() as folder:
        options = QuickstartOptions(Path(folder), relation, posts=POSTS)
        done = quickstart(options, NoProgress())
    realised = vars(done.realised)
    n_test = len(done.bench.runs[0].predictions["test"].ids)
    heads = {}
    for row in done.bench.rows:
        bound, accuracy = reads(row.head), row.mean["accuracy"]
        ceiling = realised[bound]
        error = math.sqrt(max(ceiling * (1 - ceiling), 1 / n_test) / n_test)
        heads[row.head] = {
            "reads": bound,
            "accuracy": round(accuracy, 4),
            "ceiling": round(ceiling, 4),
            "reaches": bool(accuracy >= ceiling - ERRORS * error),
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
        shown = (
            f"{100 * own['accuracy']:.1f} of {100 * own['ceiling']:.1f}"
            + ("" if own["reaches"] else " ✗")
            for own in cells
        )
        lines.append(f"| `{row.name}` | {cells[0]['reads']} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main(relations: tuple[str, ...] = tuple(Relation)) -> None:
    """Measures some relations; the record keeps the others as they were."""
    for relation in relations:
        own = measured(Relation(relation))
        found = earlier_results("relations") | {relation: own}
        write_record("relations", {"posts": POSTS, "seeds": 1, "errors": ERRORS}, found)
    print(as_markdown(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("relations", nargs="*", metavar="RELATION")
    chosen = parser.parse_args(sys.argv[1:]).relations
    main(tuple(chosen) or tuple(Relation))
