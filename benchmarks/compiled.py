"""A compiled forward pass against the plain one, over batches that lie ready in memory, one thread.

Also what compiling costs before the first batch is done, and how far the stored numbers lie from
those of the plain pass. Only processor time of the passes counts.
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import material
import numpy as np
import torch
from extraction import PRECISIONS, ready_batches
from record import earlier_results, seconds_of, summary, write_record

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.extraction.contents import contents_of
from mvsa_pipe.extraction.forward import Forward, weights_cast_once
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.session import Session

REPEATS, BATCH = 3, 8


def main() -> None:
    """Measures some backbones in both arithmetics, or those named, and records the ratios."""
    torch.set_num_threads(1)
    text, image = material.backbones()
    chosen = {material.label(text): (text, 128), material.label(image): (image, 64)}
    if material.real():
        chosen["bert-base"] = (material.full_size("bert"), 32)
    results = earlier_results("compiled") if sys.argv[1:] else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or chosen:
            for precision in PRECISIONS:
                results[f"{name} {precision}"] = _measure(*chosen[name], precision, Path(folder))
                write_record("compiled", {"repeats": REPEATS, "batch": BATCH}, results)


def _measure(
    backbone: BackboneOptions, count: int, precision: str, scratch: Path
) -> dict[str, object]:
    options = ExtractOptions(cache=scratch / "cache", precision=precision, compiled=True)
    session = Session.load(backbone, options)
    items, _ = contents_of(material.posts(count, scratch), backbone.modality)
    batches = ready_batches(session, items, BATCH)
    forward = session.forward
    ways = {"plain": forward.backbone.encode, "compiled": forward.encode}
    with weights_cast_once(forward.backbone.module, forward.precision):
        passes = {name: partial(_pass, forward, encode, batches) for name, encode in ways.items()}
        first = seconds_of(passes["compiled"])
        rounds = [{name: _processor_seconds(run) for name, run in passes.items()}
                  for _ in range(REPEATS)]  # fmt: skip
        pairs = list(zip(passes["plain"](), passes["compiled"](), strict=True))
    return {
        "plain_over_compiled": summary([r["plain"] / r["compiled"] for r in rounds]),
        "first_pass_seconds": round(first, 1),
        "plain_seconds": summary([r["plain"] for r in rounds]),
        "largest_difference": max(float(np.abs(a - b).max()) for a, b in pairs),
        "equal_numbers": float(np.mean([np.mean(a == b) for a, b in pairs])),
    }


def _pass(forward: Forward, encode: object, batches: list[tuple]) -> list[np.ndarray]:
    done = [forward.collect(forward.launch(encode, *batch)) for batch in batches]
    return [hidden.astype(np.float32) for hidden, _ in done]


def _processor_seconds(work: object) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
