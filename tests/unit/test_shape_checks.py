"""Shapes are checked while tests run: in every test, the first calls of every function."""

import pytest
import torch
from jaxtyping import TypeCheckError
from shape_checks import CHECKED_CALLS

from mvsa_pipe.heads.blocks import join

TWO_SIZES = torch.zeros(2, 3), torch.zeros(1, 3)  # torch would refuse them only where it joins them
ONE_AXIS = torch.zeros(3)  # nothing else than the annotation refuses it


@pytest.mark.parametrize("_again", [1, 2])  # one test's calls are not counted for another
def test_a_wrong_shape_is_found(_again):
    for _ in range(CHECKED_CALLS - 1):
        join(torch.zeros(2, 3))
    with pytest.raises(TypeCheckError):
        join(ONE_AXIS)


def test_vectors_of_other_posts_are_found():
    with pytest.raises(TypeCheckError):
        join(*TWO_SIZES)
