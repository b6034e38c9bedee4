"""Other settings never answer for each other."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from feature_caches import fingerprint, rows, write_cache

from mvsa_pipe.cache.fingerprint import Fingerprint, StoredDtype
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality

OTHERS = {
    "backbone": "other",
    "modality": Modality.IMAGE,
    "weights": "9" * 32,
    "preprocessing": {"max_tokens": 64, "tokenizer": "words"},
    "layers": "first",
    "pooling": "cls",
    "precision": "bfloat16",
    "dtype": StoredDtype.FLOAT32,
    "schema": 99,
}


def test_every_field_is_tried() -> None:
    assert OTHERS.keys() == {field.name for field in fields(Fingerprint)}


@pytest.mark.parametrize("name", OTHERS)
def test_every_field_makes_another_file(name: str) -> None:
    own, other = fingerprint(), replace(fingerprint(), **{name: OTHERS[name]})
    assert own.digest != other.digest
    assert own.file_name != other.file_name
    assert Fingerprint.from_json(other.to_json()) == other


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "schema"])
def test_a_file_in_another_s_place_is_refused(tmp_path: Path, name: str) -> None:
    """Renamed by hand, say: the file's own word counts, not its name."""
    file = write_cache(tmp_path, ["a"])
    wanted = replace(fingerprint(), **{name: OTHERS[name]})
    place = CacheFolder(tmp_path).path_of("set", wanted)
    file.path.rename(place)
    with (
        pytest.raises(CacheError, match="different fingerprint than requested") as caught,
        open_writer(CacheFolder(tmp_path), "set", wanted),
    ):
        pass
    message = str(caught.value)
    field = "preprocessing.max_tokens" if name == "preprocessing" else name
    value = {"preprocessing": 64}.get(name, OTHERS[name])
    own = {"preprocessing": 128}.get(name, getattr(fingerprint(), name))
    assert f"{field} is {own!r}, requested {value!r}" in message
    assert str(place) in message
    assert f"mvsa extract --backbone {wanted.backbone}" in message


def test_the_digest_of_a_fingerprint_stays_what_it_was() -> None:
    """Or every cache on every disk would be extracted again."""
    own = Fingerprint(
        backbone="bert",
        modality=Modality.TEXT,
        weights="0" * 32,
        preprocessing={"max_tokens": 128, "tokenizer": "words"},
        layers="last",
        pooling="cls",
        precision="float32",
        dtype=StoredDtype.FLOAT16,
    )
    assert own.digest == "f830cbb39bd304fe"


def test_a_prompt_is_in_the_command_that_mends() -> None:
    rule = {"max_tokens": 16, "prompt": "it's a query: "}
    own = replace(fingerprint(), backbone="hf-text:e5", preprocessing=rule)
    assert "--max-tokens 16 --prompt 'it'\"'\"'s a query: ' --precision" in own.command
    # of a class of the user's, whose field of that name means something else
    assert "--prompt" not in replace(fingerprint(), preprocessing=rule).command


def test_the_command_that_mends() -> None:
    assert fingerprint(dtype=StoredDtype.FLOAT32).command == (
        "mvsa extract --backbone small --pooling mean --max-tokens 128 "
        "--precision float32 --dtype float32"
    )
    image = fingerprint(Modality.IMAGE, preprocessing={"crop_px": 224})
    assert image.command == ("mvsa extract --backbone small --precision float32 --dtype float16")


FAST = "simplejpeg, and only the crop resized, as Pillow does, by numba"


@pytest.mark.parametrize(
    ("decoder", "renewed"),
    [("pillow", "pillow"), (FAST, "pillow"), ("simplejpeg, otherwise", "simplejpeg, otherwise")],
)
def test_equal_pixels_have_one_fingerprint_in_this_version(decoder: str, renewed: str) -> None:
    image = fingerprint(Modality.IMAGE, preprocessing={"decoder": decoder, "crop_px": 224})
    wanted = {"decoder": renewed, "crop_px": 224}
    assert image.renewed == replace(image, preprocessing=wanted)
    assert bool(image.retired) is (decoder != "pillow")
    assert "--decode" not in image.command


def test_caches_of_two_settings_lie_side_by_side(tmp_path: Path) -> None:
    for own in (fingerprint(), fingerprint(pooling="cls")):
        with open_writer(CacheFolder(tmp_path), "set", own) as writer:
            assert writer.committed == {}
            writer.commit(rows(["a"]))
            writer.finish(["a"], {})
    assert len(CacheFolder(tmp_path).entries()) == 2


@pytest.mark.parametrize("line", ["", "[]", "{}", "null", '{"modality": "smell"}', "{nonsense"])
def test_lines_that_are_no_fingerprint(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Fingerprint.from_json(line)


def test_file_names_are_safe() -> None:
    name = fingerprint(backbone="hf-text:../a b/ü?*").file_name
    assert name.startswith("hf-text-..-a-b-")
    assert "/" not in name
    assert name.endswith(f"-{fingerprint(backbone='hf-text:../a b/ü?*').digest[:8]}.h5")
