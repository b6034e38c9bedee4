"""Posts built in memory: lists, pandas frames, Hugging Face datasets."""

import io
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mvsa_pipe.errors import ConfigError, DataError
from mvsa_pipe.images import decode_image
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.contents import contents_of
from mvsa_pipe.posts.frames import posts_from_dataset, posts_from_frame
from mvsa_pipe.posts.in_memory import picture_bytes, posts_in_memory

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)


def frame(**columns):
    pictures = [Image.fromarray(PIXELS), PIXELS, None]
    given = {"text": ["a", None, " c\0 "], "image": pictures, "label": ["x", "y", None]}
    return pd.DataFrame(given | columns, index=[7, 8, 9])


@pytest.mark.parametrize(
    "picture", [Image.fromarray(PIXELS), PIXELS, {"bytes": None, "path": "p.png"}, Path("p.png")]
)
def test_pixels_are_kept_in_every_form(picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PIXELS).save("p.png")
    assert (np.asarray(decode_image(picture_bytes(picture, "p"), "p")) == PIXELS).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_every_mode_of_pillow_becomes_a_picture(mode):
    picture = Image.new(mode, (8, 8))
    assert decode_image(picture_bytes(picture, "p"), "p").size == (8, 8)


def test_bytes_of_a_file_stay_as_they_are():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG")
    assert picture_bytes(file.getvalue(), "p") == file.getvalue()
    assert picture_bytes({"bytes": file.getvalue(), "path": "x"}, "p") == file.getvalue()


@pytest.mark.parametrize(
    "picture", [3, "nowhere.jpg", PIXELS.astype(float), PIXELS[0, 0], np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_picture_is_the_fault_of_its_post(picture):
    posts = posts_in_memory(["a", "b"], [PIXELS, picture])
    readable, faults = contents_of(posts, Modality.IMAGE)
    assert [item.id for item in readable] == ["1"]
    assert list(faults) == ["2"]


def test_a_frame_is_read_as_a_table_is():
    posts = posts_from_frame(frame(), name="tweets")
    assert [post.id for post in posts.posts] == ["7", "8", "9"]
    assert [post.text for post in posts.posts] == ["a", None, "c"]
    assert [post.image for post in posts.posts] == ["7", "8", None]
    assert [post.label for post in posts.posts] == ["x", "y", None]
    assert (posts.classes, posts.name, posts.path) == (("x", "y"), "tweets", None)
    assert posts.to_frame()["label"].tolist()[:2] == ["x", "y"]


def test_numbers_are_labels_and_ids_where_they_are_whole():
    posts = posts_from_frame(
        frame(label=[1.0, 0.0, np.nan], key=np.array([3, 4, 5])), name="n", id="key"
    )
    assert [post.label for post in posts.posts] == ["1", "0", None]
    assert [post.id for post in posts.posts] == ["3", "4", "5"]


def test_columns_may_be_left_out():
    posts = posts_from_frame(frame(), name="t", image=None, label=None)
    assert {post.image for post in posts.posts} == {None}
    assert posts.classes == ()


def test_the_same_pictures_in_another_process_have_the_same_digests():
    posts = posts_from_frame(frame(), name="t")
    again = pickle.loads(pickle.dumps(posts))
    assert again.storage.read("7") == posts.storage.read("7")
    first, second = (contents_of(one, Modality.IMAGE)[0] for one in (posts, again))
    assert [item.digest for item in first] == [item.digest for item in second]


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda: posts_from_frame(frame(), name="a/b"), ConfigError, "name"),
        (lambda: posts_from_frame(frame(), name="t", text="words"), ConfigError, "text=..."),
        (lambda: posts_from_frame(frame(), name="t", text=None, image=None), ConfigError, "nor"),
        (lambda: posts_from_frame(frame()[:0], name="t"), DataError, "no posts"),
        (lambda: posts_from_frame(frame(text=[1.5, "b", "c"]), name="t"), DataError, "number 1.5"),
        (lambda: posts_from_frame(frame(label=["a", "A", "b"]), name="t"), DataError, "'A'"),
        (lambda: posts_from_frame(frame(k=[1, 1, 2]), name="t", id="k"), DataError, "already"),
        (lambda: posts_in_memory("text", None), ConfigError, "a list"),
        (lambda: posts_in_memory(["a"], Image.fromarray(PIXELS)), ConfigError, "images=\\["),
        (lambda: posts_in_memory(["a", "b"], [PIXELS]), ConfigError, "2 texts, 1 images"),
        (lambda: posts_in_memory(None, None), ConfigError, "no list"),
        (lambda: posts_in_memory([], []), DataError, "no posts"),
    ],
)
def test_what_makes_no_posts_is_told_in_one_paragraph(call, kind, says):
    with pytest.raises(kind, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_hugging_face_dataset_gives_the_files_it_holds(tmp_path):
    datasets = pytest.importorskip("datasets", reason="the extra datasets is not installed")
    Image.fromarray(PIXELS).save(tmp_path / "p.jpg")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["bad", "good"]),
        }
    )
    rows = {
        "text": ["a", "b", None],
        "image": [Image.fromarray(PIXELS), str(tmp_path / "p.jpg"), None],
        "label": [1, 0, -1],
    }
    dataset = datasets.Dataset.from_dict(rows, features=features)
    posts = posts_from_dataset(dataset, name="hub")
    assert [post.label for post in posts.posts] == ["good", "bad", None]
    assert [post.image for post in posts.posts] == ["0", "1", None]
    assert (np.asarray(decode_image(posts.storage.read("0"), "p")) == PIXELS).all()
    assert posts.storage.read("1") == (tmp_path / "p.jpg").read_bytes()
    with pytest.raises(ConfigError, match=r"dataset\['train'\]"):
        posts_from_dataset(datasets.DatasetDict({"train": dataset}), name="hub")
    with pytest.raises(ConfigError, match="column is missing"):
        posts_from_dataset(dataset, name="hub", text="words")
