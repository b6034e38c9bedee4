"""Damage to posts: what it does, that it depends on contents alone, and what it refuses."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.images import decode_image
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet
from mvsa_pipe.posts.contents import content_digests
from mvsa_pipe.posts.damage.damaged import damaged_posts
from mvsa_pipe.posts.damage.table import DAMAGE_ROWS, Damage, damages_of
from mvsa_pipe.posts.in_memory import posts_in_memory

TEXT = "one two three four five six seven eight nine ten"
EVERY = [damage for row in DAMAGE_ROWS.values() for damage in damages_of(row)]


def picture(seed: int = 0, width: int = 448, height: int = 300) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(60, 200, (height // 4, width // 4, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def some_posts(order: tuple[int, ...] = (0, 1, 2)) -> PostSet:
    return posts_in_memory(
        [f"{TEXT} {n}" for n in order],
        [picture(n) for n in order],
        ["a"] * len(order),
        [f"id{n}" for n in order],
        name="few",
    )


def damaged_picture(posts: PostSet, name: str = "id0") -> Image.Image:
    return decode_image(posts.storage.read(name), name)


def under(kind: str, strength: float, posts: PostSet | None = None) -> PostSet:
    whole = posts or some_posts()
    return damaged_posts(
        whole, Damage(DAMAGE_ROWS[kind], strength), [post.id for post in whole.posts]
    )


def pixels_under(kind: str, strength: float) -> np.ndarray:
    return np.asarray(damaged_picture(under(kind, strength)), np.float64)


@pytest.mark.parametrize("damage", EVERY, ids=str)
def test_every_default_damage_changes_one_modality_alone(damage: Damage) -> None:
    intact, damaged = some_posts(), under(damage.row.name, damage.strength)
    for modality in Modality:
        before = content_digests(intact, modality).digests
        after = content_digests(damaged, modality).digests
        assert before.keys() == after.keys()
        differs = [before[i] != after[i] for i in before]
        assert any(differs) is (modality is damage.modality)
    assert damaged.name == f"few+{damage}"


@pytest.mark.parametrize("kind", list(DAMAGE_ROWS))
def test_damage_depends_on_the_content_alone(kind: str) -> None:
    damage = damages_of(DAMAGE_ROWS[kind])[1]
    found = []
    for order in ((0, 1, 2), (2, 0)):
        posts = under(kind, damage.strength, some_posts(order))
        found.append(content_digests(posts, damage.modality).digests)
    assert found[1].items() <= found[0].items()


def test_only_the_asked_posts_are_kept() -> None:
    posts = damaged_posts(some_posts(), Damage(DAMAGE_ROWS["cut"], 0.5), ["id1"])
    assert [post.id for post in posts.posts] == ["id1"]


def test_cut_keeps_the_first_words() -> None:
    assert under("cut", 0.25).posts[0].text == "one two three"  # of eleven words, rounded up


@pytest.mark.parametrize("kind", ["drop", "typos"])
def test_errors_are_as_frequent_as_asked_and_nested(kind: str) -> None:
    words = " ".join(f"word{chr(97 + n % 26)}" for n in range(4000))
    kept = []
    for strength in (0.1, 0.4):
        posts = posts_in_memory([words], None, ["a"], name="one")
        text = under(kind, strength, posts).posts[0].text
        assert text is not None
        kept.append(text)
    if kind == "drop":
        assert [len(text.split()) / 4000 for text in kept] == pytest.approx([0.9, 0.6], abs=0.03)
        rest = iter(kept[0].split())
        assert all(word in rest for word in kept[1].split())  # in order: a part of the other
    else:
        untouched = [
            np.mean([a == b for a, b in zip(t.split(), words.split(), strict=True)]) for t in kept
        ]
        # five letters a word; a swap or a replacement may leave a word as it was
        assert 0.9**5 <= untouched[0] < 0.9**5 + 0.08
        assert 0.6**5 <= untouched[1] < 0.6**5 + 0.08


def test_one_word_stays() -> None:
    assert under("drop", 1).posts[0].text in (f"{TEXT} 0").split()
    empty = posts_in_memory([""], [picture()], ["a"], name="one")
    for row in DAMAGE_ROWS.values():
        if row.modality is Modality.TEXT:
            assert under(row.name, row.strengths[-1], empty).posts[0].text == ""


def test_jpeg_is_what_pillow_stores() -> None:
    file = io.BytesIO()
    picture().save(file, "JPEG", quality=15)
    stored = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
    assert (pixels_under("jpeg", 15) == stored).all()


def test_pictures_become_as_small_as_asked_and_never_larger() -> None:
    assert damaged_picture(under("resolution", 30)).size == (45, 30)
    assert damaged_picture(under("resolution", 3000)).size == (448, 300)
    assert damaged_picture(under("crop", 0.5)).size == (224, 150)


def test_a_crop_is_a_part_of_the_picture() -> None:
    whole, part = np.asarray(picture()), pixels_under("crop", 0.25)
    height, width = part.shape[:2]
    assert any(
        (whole[top : top + height, left : left + width] == part).all()
        for top in range(whole.shape[0] - height + 1)
        for left in range(whole.shape[1] - width + 1)
        if (whole[top, left] == part[0, 0]).all()
    )


def test_grey_removes_colour() -> None:
    spread = [np.ptp(pixels_under("grey", strength), axis=-1).mean() for strength in (0.5, 1)]
    assert spread[0] == pytest.approx(np.ptp(np.asarray(picture()), axis=-1).mean() / 2, rel=0.05)
    assert spread[1] == 0


def test_noise_has_the_standard_deviation_that_was_asked_for() -> None:
    difference = pixels_under("noise", 0.05) - np.asarray(picture(), np.float64)
    assert difference.std() / 255 == pytest.approx(0.05, rel=0.05)
    assert abs(difference.mean()) < 0.5


def test_blur_keeps_the_mean_and_removes_detail() -> None:
    before, after = np.asarray(picture(), np.float64), pixels_under("blur", 6)
    assert after.mean() == pytest.approx(before.mean(), abs=1)
    assert after.std() < before.std() / 4


def test_strengths_are_ordered_from_weak_to_strong_and_checked() -> None:
    jpeg, drop = DAMAGE_ROWS["jpeg"], DAMAGE_ROWS["drop"]
    assert [each.strength for each in damages_of(jpeg, [5, 60, 20])] == [60, 20, 5]
    assert [each.strength for each in damages_of(drop, [0.5, 0.1])] == [0.1, 0.5]
    with pytest.raises(ConfigError, match="from 1 to 95"):
        damages_of(jpeg, [100])
    with pytest.raises(ConfigError, match="above 0 and less than 1"):
        damages_of(DAMAGE_ROWS["crop"], [1])


def test_damaged_pictures_can_be_sent_to_another_process() -> None:
    storage = under("noise", 0.2).storage
    assert pickle.loads(pickle.dumps(storage)).read("id1") == storage.read("id1")
