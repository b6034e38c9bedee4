"""Posts, split and caches joined: what goes together, what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import CacheError, ConfigError, DataError, SplitError
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.features.batch import Field
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.layers import LayerMix, Layers
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, prepare

DATA, CACHES = DataChoice(), CacheChoice()
BOTH = needs_of(["native-cat"])


@pytest.fixture
def posts(workplace):
    return read_posts(workplace / "data")


def test_heads_say_what_they_need():
    assert needs_of(["text"]) == {Field.TEXT_POOLED}
    assert needs_of(["text", "image"]) == {Field.TEXT_POOLED, Field.IMAGE_POOLED}


def test_every_post_meets_its_own_label_and_part(posts):
    made = prepare(DATA, CACHES, BOTH)
    names = made.training_data.features.post_ids
    assert set(names) == {post.id for post in posts.posts}
    labels = {post.id: posts.classes.index(post.label) for post in posts.posts}
    assert made.training_data.labels.tolist() == [labels[name] for name in names]
    for part, index in made.indices.items():
        assert [names[i] for i in index.tolist()] == list(made.split.ids(part))
    assert made.sizes == made.split.sizes()
    assert made.training_data.train is made.indices["train"]
    assert made.backbones == {"text": "tiny-text", "image": "tiny-image"}
    assert made.left_out == ()
    assert made.data.split == "random-8:1:1"  # what auto stood for


def test_a_published_split_is_used_unless_another_is_named(posts, monkeypatch):
    published = {post.id: ("train", "val", "test")[n % 3] for n, post in enumerate(posts.posts)}
    withit = replace(posts, published=published)
    monkeypatch.setattr("mvsa_pipe.posts.reading.read_posts", lambda *_: withit)
    made = prepare(DATA, CACHES, BOTH)
    assert made.split.parts == published
    assert (made.data.split, made.split.tag) == ("published", "published")
    again = prepare(replace(DATA, split="random-8:1:1"), CACHES, BOTH)
    assert again.split.tag == "random-8:1:1/seed-0"
    assert any("is not used" in remark for remark in again.remarks())
    assert not any("is not used" in remark for remark in made.remarks())


@pytest.mark.usefixtures("workplace")
def test_only_what_heads_need_is_read():
    shutil.rmtree("cache")
    with pytest.raises(CacheError, match="No text features"):
        prepare(DATA, CACHES, BOTH)


@pytest.mark.usefixtures("workplace")
def test_a_text_head_needs_no_image_cache():
    for path in Path("cache").glob("*/tiny-image*"):
        path.unlink()
    made = prepare(DATA, CACHES, needs_of(["text"]))
    assert list(made.files) == [Modality.TEXT]
    with pytest.raises(CacheError, match=r"No image features.*mvsa extract"):
        prepare(DATA, CACHES, BOTH)


@pytest.mark.usefixtures("workplace")
def test_the_split_seed_can_be_told_apart():
    one, other = prepare(DATA, CACHES, BOTH), prepare(DATA, CACHES, BOTH, split_seed=3)
    assert one.split.parts != other.split.parts
    named = prepare(replace(DATA, split_seed=3), CACHES, BOTH)
    assert other.split.parts == named.split.parts
    assert other.protocol.endswith("seed-3")


@pytest.mark.usefixtures("workplace")
def test_an_unknown_cache_names_those_that_are_there():
    with pytest.raises(CacheError, match=r"Expected bert.*tiny-text@"):
        prepare(DATA, replace(CACHES, text="bert"), BOTH)


@pytest.mark.parametrize("change", ["text", "image"])
def test_posts_changed_since_their_extraction_are_refused(workplace, change):
    name = "7.txt" if change == "text" else "7.jpg"
    path = workplace / "data" / "data" / name
    if change == "text":
        path.write_text("something else entirely")
    else:
        shutil.copy(path.with_name("8.jpg"), path)
    with pytest.raises(
        CacheError, match=rf"{change} of 1 post is not.*extracted: 7\..*mvsa extract"
    ):
        prepare(DATA, CACHES, BOTH)


@pytest.mark.parametrize("name", ["7.txt", "7.jpg"])
def test_features_outlive_no_post_that_lost_its_half(workplace, name):
    (workplace / "data" / "data" / name).unlink()
    with pytest.raises(CacheError, match=r"1 post is not what was extracted: 7\."):
        prepare(DATA, CACHES, BOTH)


def test_relabelling_needs_no_extraction(workplace):
    path = workplace / "data" / "labelResultAll.txt"
    lines = path.read_text().splitlines()
    before = prepare(DATA, CACHES, BOTH)
    lines[1] = lines[1].split("\t")[0] + "\tneutral,neutral"
    path.write_text("\n".join(lines) + "\n")
    after = prepare(DATA, CACHES, BOTH)
    at = after.training_data.features.post_ids.index(lines[1].split("\t")[0])
    assert after.posts.classes[int(after.training_data.labels[at])] == "neutral"
    assert torch.equal(
        before.training_data.features.text_pooled, after.training_data.features.text_pooled
    )


def test_new_posts_ask_for_their_extraction(workplace):
    data = workplace / "data"
    for suffix in ("jpg", "txt"):
        shutil.copy(data / "data" / f"1.{suffix}", data / "data" / f"900.{suffix}")
    with (data / "labelResultAll.txt").open("a") as file:
        file.write("900\tpositive,positive\n")
    with pytest.raises(CacheError, match=r"lacks 1 post.*900.*mvsa extract"):
        prepare(DATA, CACHES, BOTH)


def test_what_extraction_skipped_is_left_out_and_counted(workplace):
    (workplace / "data" / "data" / "7.jpg").write_bytes(b"no picture")
    options = ExtractOptions(cache=Path("cache"), on_bad_post=BadPostPolicy.SKIP)
    extract(read_posts(Path("data")), BackboneOptions("tiny-image"), options, NoProgress())
    made = prepare(DATA, CACHES, BOTH)
    assert made.left_out == ("7",)
    assert "7" not in made.training_data.features.post_ids
    assert sum(made.sizes.values()) == len(made.posts) - 1


@pytest.mark.usefixtures("workplace")
def test_a_split_without_a_test_part_has_none():
    made = prepare(replace(DATA, split="random-8:2"), CACHES, BOTH)
    assert made.sizes["test"] == 0


@pytest.mark.usefixtures("workplace")
def test_a_split_that_is_none_is_refused():
    with pytest.raises(SplitError, match="names no split"):
        prepare(replace(DATA, split="nonsense"), CACHES, BOTH)


def test_posts_without_a_label_have_no_part(workplace):
    """A list in which labels are withheld, and a split that names such a post."""
    (workplace / "data" / "labelResultAll.txt").unlink()
    (workplace / "data" / "mvsa.json").unlink()
    tags = ["positive", "negative", "neutral", "null"]
    rows = [f"{n},{tags[n % 4]}" for n in range(1, 41)]
    (workplace / "data" / "train.txt").write_text("\n".join(["guid,tag", *rows]) + "\n")
    labelled = prepare_tagged("random-8:1:1")
    assert sum(labelled.sizes.values()) == 30
    rows = [f"{n},{'train' if n <= 30 else 'val'}" for n in range(1, 41)]
    Path("split.csv").write_text("\n".join(["id,split", *rows]) + "\n")
    with pytest.raises(SplitError, match=r"10 posts of the split have no label.*Found 3, 7"):
        prepare_tagged("split.csv")


def prepare_tagged(split):
    posts = read_posts(Path("data"))
    for name in ("tiny-text", "tiny-image"):
        extract(posts, BackboneOptions(name), ExtractOptions(cache=Path("cache")), NoProgress())
    return prepare(replace(DATA, split=split), CACHES, BOTH)


@pytest.fixture
def second_text(posts):
    """The file of another text cache of the same backbone, whose texts are cut."""
    backbone = BackboneOptions("tiny-text", max_tokens=5)
    done = extract(posts, backbone, ExtractOptions(cache=Path("cache")), NoProgress())
    return done.file


def named(file):
    return f"{file.header.fingerprint.backbone}@{file.header.fingerprint.digest[:8]}"


def test_several_caches_a_modality_are_joined_as_they_are_named(second_text):
    (other,) = [p for p in Path("cache").glob("*/tiny-text*.h5") if p != second_text.path]
    names = f"tiny-text@{other.stem.split('-')[-2]}", named(second_text)
    for pair in (names, names[::-1]):
        made = prepare(DATA, replace(CACHES, text="+".join(pair)), BOTH)
        assert [named(file) for file in made.files[Modality.TEXT]] == list(pair)
        assert made.backbones == {"text": "tiny-text+tiny-text", "image": "tiny-image"}
        assert made.training_data.features.sizes.text_width == 2 * 384
        assert made.training_data.features.sizes.image_width == 512
        assert any(other.name in line and second_text.path.name in line for line in made.remarks())


def test_without_names_the_newest_alone_is_taken(second_text):
    made = prepare(DATA, CACHES, BOTH)
    assert [named(file) for file in made.files[Modality.TEXT]] == [named(second_text)]


@pytest.mark.parametrize("name", ["tiny-text+tiny-text", "tiny-text+", "+", ""])
def test_names_that_cannot_be_joined_are_refused(name):
    with pytest.raises(ConfigError, match="--text cannot be used"):
        CacheChoice(text=name)


def test_the_same_cache_under_two_names_is_refused(second_text):
    with pytest.raises(ConfigError, match=r"the same cache twice.*tiny-text-"):
        prepare(DATA, replace(CACHES, text=f"tiny-text+{named(second_text)}"), BOTH)


@pytest.mark.usefixtures("workplace")
def test_a_joined_name_without_a_cache_is_the_one_that_is_named():
    with pytest.raises(CacheError, match=r"Expected dinov2\..*tiny-image@.*--backbone dinov2"):
        prepare(DATA, replace(CACHES, image="tiny-image+dinov2"), BOTH)


def test_posts_changed_since_one_of_the_extractions_are_refused(workplace, second_text):
    (other,) = [p for p in Path("cache").glob("*/tiny-text*.h5") if p != second_text.path]
    (workplace / "data" / "data" / "7.txt").write_text("something else entirely")
    backbone = BackboneOptions("tiny-text", max_tokens=5)
    posts = read_posts(Path("data"))
    extract(posts, backbone, ExtractOptions(cache=Path("cache")), NoProgress())
    names = f"{named(second_text)}+tiny-text@{other.stem.split('-')[-2]}"
    with pytest.raises(CacheError, match=rf"{other.name}.*text of 1 post is not.*: 7\."):
        prepare(DATA, replace(CACHES, text=names), BOTH)


@pytest.fixture
def layered_text(posts):
    """The file of a cache of both layers of the text backbone, newer than that of the last."""
    backbone = BackboneOptions("tiny-text", layers=Layers.ALL)
    return extract(posts, backbone, ExtractOptions(cache=Path("cache")), NoProgress()).file


TOKENS = needs_of(["cmac"])


def test_the_last_layer_comes_from_a_cache_of_it_alone_if_there_is_one(layered_text):
    made = prepare(DATA, CACHES, TOKENS)
    (file,) = made.files[Modality.TEXT]
    assert file.header.fingerprint.layers == "last"
    assert not any("layer" in line for line in made.remarks())
    states = made.training_data.features.text_hidden.states
    file.path.unlink()
    again = prepare(DATA, CACHES, TOKENS)
    assert again.files[Modality.TEXT][0].path.name == layered_text.path.name
    assert "tiny-text: the last of its 2 cached layers is read" in again.remarks()
    assert torch.equal(again.training_data.features.text_hidden.states, states)


@pytest.mark.parametrize("mix", [LayerMix.MEAN, LayerMix.LEARNED])
def test_layers_are_mixed_where_they_are_cached_and_said(layered_text, mix):
    made = prepare(DATA, replace(CACHES, features=FeatureOptions(layer_mix=mix)), TOKENS)
    assert made.files[Modality.TEXT][0].path.name == layered_text.path.name
    remarks = made.remarks()
    assert f"tiny-text: 2 layers, mixed by {mix}" in remarks
    assert any(line.startswith("tiny-image: only its last layer is cached") for line in remarks)
    learned = mix is LayerMix.LEARNED
    assert made.training_data.features.sizes.text_layers == (((2, 384),) if learned else ())
    assert made.training_data.features.sizes.image_layers == ()


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("mix", [LayerMix.MEAN, LayerMix.LEARNED])
def test_caches_of_the_last_layer_alone_are_not_mixed(mix):
    with pytest.raises(ConfigError, match=rf"--layer-mix {mix} needs.*--layers last4.*tiny-text-"):
        prepare(DATA, replace(CACHES, features=FeatureOptions(layer_mix=mix)), TOKENS)


def test_a_negative_grid_is_refused():
    with pytest.raises(ConfigError, match="--image-grid"):
        FeatureOptions(image_grid=-1)


def test_posts_of_one_class_are_refused(tmp_path):
    table = tmp_path / "one.csv"
    rows = "".join(f"{n},text {n},,same\n" for n in range(9))
    table.write_text(f"id,text,image,label\n{rows}")
    with pytest.raises(DataError, match=r"one class.*same"):
        prepare(DataChoice(path=table), CACHES, BOTH)
