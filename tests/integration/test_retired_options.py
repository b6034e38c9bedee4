"""Caches made by options that no longer exist: they are read, and nothing is added to them."""

import json
from pathlib import Path

import h5py
import pytest
from cli_support import remade

GPU = "nvjpeg by torchvision, resized by torch on the device; pillow where it refuses"


def rewritten(path: Path, option: str) -> Path:
    """The same features, in a cache that says it was made by an option of an earlier version."""
    if option == "--decode gpu":
        return remade(path, "gpu", decoder=GPU)
    return remade(path, "exact", compiled=True)


@pytest.fixture(params=["--decode gpu", "--compile"])
def made(request, workplace, mvsa):
    """The option; the cache that it made; and a run ``seen`` over it."""
    (path,) = (workplace / "cache").glob("*/tiny-image-*.h5")
    cache = rewritten(path.relative_to(workplace), request.param)
    result = mvsa("fit", "--head", "native-cat", "--epochs", "1", "--name", "seen")
    assert result.exit_code == 0, result.output
    return request.param, cache


def said_of(option, paragraph):
    assert f"made by {option}, which this version does not have" in paragraph
    assert "mvsa extract" in paragraph


def test_what_is_cached_answers_and_more_is_refused(made, mvsa, refused):
    option, _ = made
    assert mvsa("cache", "list").exit_code == 0
    assert mvsa("cache", "verify").exit_code == 0
    result = mvsa("evaluate", "runs/seen")
    assert result.exit_code == 0, result.output
    picture = next(Path("data/data").glob("*.jpg"))
    said_of(option, refused("predict", "runs/seen", "--text", "so", "--image", picture))


def test_repair_is_refused_and_gives_nothing_up(made, refused):
    option, cache = made
    data = bytearray(cache.read_bytes())
    with h5py.File(cache) as file:
        data[file["pooled"].id.get_offset()] ^= 0xFF
    cache.write_bytes(data)
    said_of(option, refused("cache", "repair", str(cache), keeps=False))
    assert cache.read_bytes() == data


def test_a_run_over_other_pixels_is_not_exported(made, refused):
    option, _ = made
    if option == "--decode gpu":
        said_of(option, refused("export", "runs/seen", "--output", "out", keeps=False))
        assert not Path("out").exists()


@pytest.mark.parametrize("option", [("--decode", "gpu"), ("--compile",)])
@pytest.mark.usefixtures("workplace")
def test_the_options_are_gone(mvsa, option):
    result = mvsa("extract", "--backbone", "tiny-image", *option)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("record", [None, [], {}, {"name": 5}, "x", {"name": "tiny-text"}])
@pytest.mark.usefixtures("workplace")
def test_a_run_without_a_usable_record_of_its_backbone(mvsa, refused, record):
    result = mvsa("fit", "--head", "native-cat", "--epochs", "1", "--name", "seen")
    assert result.exit_code == 0, result.output
    config = Path("runs/seen/config.json")
    told = json.loads(config.read_text())
    told["caches"]["image"]["backbone"] = record
    config.write_text(json.dumps(told))
    picture = next(Path("data/data").glob("*.jpg"))
    paragraph = refused("predict", "runs/seen", "--text", "so", "--image", picture)
    assert "The record of the backbone is missing or invalid" in paragraph
