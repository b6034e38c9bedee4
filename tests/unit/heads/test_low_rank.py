"""Low-rank fusion against the weight tensor that it stands for."""

import pytest
import torch

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.heads.blocks import normalise
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.low_rank import LowRankFusion

WIDTH = 3


def build_fusion(rank: int) -> LowRankFusion:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return LowRankFusion(WIDTH, rank)


def weight_tensor(fusion: LowRankFusion) -> torch.Tensor:
    """``W[k, i, j]`` with the appended 1 as the last ``i`` and the last ``j``."""
    full = torch.zeros(WIDTH, WIDTH + 1, WIDTH + 1)
    for r in range(fusion.rank):
        for k in range(WIDTH):
            row = r * WIDTH + k
            columns = [
                torch.cat([factors.weight[row], factors.bias[row, None]])
                for factors in (fusion.text_factors, fusion.image_factors)
            ]
            full[k] += torch.outer(*columns)
    return full


@torch.no_grad()
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_equals_the_contraction_of_the_full_tensor(rank: int):
    fusion = build_fusion(rank)
    generator = torch.Generator().manual_seed(1)
    text, image = torch.randn(2, 4, WIDTH, generator=generator)
    ones = torch.ones(4, 1)
    expected = torch.einsum(
        "kij,bi,bj->bk",
        weight_tensor(fusion),
        torch.cat([text, ones], dim=-1),
        torch.cat([image, ones], dim=-1),
    )
    torch.testing.assert_close(fusion(text, image), expected)


@torch.no_grad()
@pytest.mark.parametrize("rank", [1, 2])
def test_rank_is_the_number_of_terms(rank: int):
    ranks = torch.linalg.matrix_rank(weight_tensor(build_fusion(rank)))
    assert ranks.tolist() == [rank] * WIDTH


@torch.no_grad()
def test_head_classifies_the_normalised_form(sizes, batch):
    head = build_head("low-rank", sizes, 0, {"width": 6, "rank": 2}).eval()
    fused = head.fusion(head.text(batch.text_pooled), head.image(batch.image_pooled))
    torch.testing.assert_close(head(batch), head.classifier(normalise(fused)))


def test_rank_0_is_refused(sizes):
    with pytest.raises(ConfigError, match="'rank'"):
        build_head("low-rank", sizes, 0, {"rank": 0})
