"""Batches: every post once, of like length where that is asked for, the same for the same seed."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mvsa_pipe.training.data import WINDOW_BATCHES, by_length, epoch_batches


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 700), st.integers(1, 40), st.booleans(), st.integers(0, 5))
def test_every_post_stands_in_one_batch_and_only_one_batch_is_not_full(count, size, grouped, seed):
    posts = torch.arange(100, 100 + count)
    lengths = torch.arange(1000) % 7 if grouped else None
    batches = epoch_batches(posts, size, seeded(seed), lengths)
    assert torch.equal(torch.cat(batches).sort().values, posts)
    assert len(batches) == -(-count // size)
    assert sum(len(batch) != size for batch in batches) <= 1


def test_posts_of_like_length_share_a_batch():
    lengths = torch.randint(1, 100, (2000,), generator=seeded(1))
    plain, grouped = (
        epoch_batches(torch.arange(2000), 32, seeded(), given) for given in (None, lengths)
    )
    padded = [sum(int(lengths[b].max()) * len(b) for b in batches) for batches in (plain, grouped)]
    assert padded[1] < 1.2 * int(lengths.sum()) < padded[0]


def test_companions_and_order_change_from_epoch_to_epoch():
    lengths = torch.arange(600) % 50
    generator = seeded()
    first, second = (epoch_batches(torch.arange(600), 16, generator, lengths) for _ in range(2))
    assert {tuple(sorted(b.tolist())) for b in first} != {tuple(sorted(b.tolist())) for b in second}
    means = [float(lengths[batch].float().mean()) for batch in first]
    assert means != sorted(means)


def test_the_same_seed_gives_the_same_batches():
    lengths = torch.arange(90) % 11
    one, other = (epoch_batches(torch.arange(90), 8, seeded(3), lengths) for _ in range(2))
    assert all(map(torch.equal, one, other))


def test_windows_are_narrower_than_an_epoch():
    """Else every epoch would pair the same posts."""
    assert 1 < WINDOW_BATCHES <= 32


def test_posts_of_equal_length_keep_their_order():
    lengths = torch.tensor([3, 1, 3, 1, 2])
    assert by_length(torch.tensor([4, 0, 3, 2, 1]), lengths).tolist() == [3, 1, 4, 0, 2]
