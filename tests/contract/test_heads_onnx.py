"""Every registered fusion head as ONNX: the same probabilities as torch, whatever the batch is."""

import pytest
from heads_support import VARIANTS

from mvsa_pipe.export.check_inputs import BATCHES, head_batches
from mvsa_pipe.export.onnx_files import TOLERANCE, write_onnx
from mvsa_pipe.export.onnx_graphs import HeadGraph
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead

# Runs of several backbones a modality are not exported.
ALONE = [variant for variant in VARIANTS if not variant.joined]


def test_batches_are_of_one_post_and_more_and_of_several_lengths():
    assert {posts for posts, _ in BATCHES} >= {1, 2, 3}
    assert len({tokens for _, tokens in BATCHES}) == len(BATCHES)


@pytest.mark.parametrize("variant", ALONE, ids=str)
def test_head_is_the_same_in_onnx(variant, tmp_path):
    head = variant.build_ready()
    done = write_onnx(HeadGraph(head), head_batches(head), tmp_path / "head.onnx")
    assert done.fault == ""
    assert done.largest_difference <= TOLERANCE
    needs = {need.value for need in head.needs}
    assert set(done.inputs) - {"text_mask"} == needs
    assert all(kind.split("[")[1].startswith("batch") for kind in done.inputs.values())


def test_every_head_is_tried():
    heads = {name for name in HEADS.names if issubclass(HEADS.load(name), FusionHead)}
    assert {variant.name for variant in ALONE} == heads
