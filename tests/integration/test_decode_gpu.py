"""``--decode gpu`` on a machine without a GPU: what still answers, and what one paragraph says."""

import shutil
from pathlib import Path

import h5py
import pytest
import torch

from mvsa_pipe.extraction import device_decoding, session

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="here a GPU can decode")

EXTRACT = ("extract", "--backbone", "tiny-image", "--decode", "gpu", "--device", "cpu")


@pytest.fixture
def seen(workplace, mvsa, monkeypatch):
    """A cache of ``--decode gpu``, made where a CPU stood in, and a run ``seen`` over it."""
    with monkeypatch.context() as patch:
        for room in (device_decoding, session):
            patch.setattr(room, "require_device_decoder", lambda _: None)
        assert mvsa(*EXTRACT).exit_code == 0
    # What was resolved beside the cache was resolved on the other machine.
    shutil.rmtree(workplace / "cache" / ".resolved")
    result = mvsa("fit", "--head", "native-cat", "--epochs", "1", "--name", "seen")
    assert result.exit_code == 0, result.output
    exact, made = sorted(Path("cache").glob("*/tiny-image-*.h5"), key=lambda p: p.stat().st_mtime)
    assert exact != made
    return made


def said_of(paragraph):
    assert "Pictures shall be decoded on a GPU (--decode gpu), and here none can do so" in paragraph
    assert "Expected a CUDA device" in paragraph
    assert "use --decode exact" in paragraph


@pytest.mark.usefixtures("workplace")
def test_extract_is_refused_before_anything_is_done(refused):
    said_of(refused(*EXTRACT))
    said_of(refused("extract", "--backbone", "tiny-text", *EXTRACT[1:]))


@pytest.mark.usefixtures("seen")
def test_what_is_cached_answers_and_the_rest_is_refused(mvsa, refused):
    result = mvsa("evaluate", "runs/seen")
    assert result.exit_code == 0, result.output
    picture = next(Path("data/data").glob("*.jpg"))
    said_of(refused("predict", "runs/seen", "--text", "so", "--image", picture))
    for path in Path("data/data").glob("*.jpg"):
        path.write_bytes(path.read_bytes() + b"\0")
    said_of(refused("evaluate", "runs/seen", "--data", "data", keeps=False))


def test_tuning_is_refused(seen, refused):
    tune = ("finetune", "--head", "native-cat")
    for words in (
        (*tune, "--decode", "gpu"),
        (*tune, "--image", f"@{seen.stem[-8:]}"),
        ("finetune", "--from", "runs/seen"),
    ):
        said = refused(*words, keeps=False)
        assert "Fine-tuning reads pictures one by one" in said
        assert "--decode exact" in said


@pytest.mark.usefixtures("seen")
def test_export_is_refused(refused):
    said = refused("export", "runs/seen", "--output", "out", keeps=False)
    assert "decoded on a GPU cannot be exported" in said
    assert not Path("out").exists()


@pytest.mark.parametrize("whole", [True, False])
def test_repair_is_refused_and_gives_nothing_up(seen, refused, whole):
    data = bytearray(seen.read_bytes())
    if whole:
        with h5py.File(seen) as file:
            at = file["pooled"].id.get_offset() or file["pooled"].id.get_chunk_info(0).byte_offset
        data[at] ^= 0xFF
    else:
        data[:8] = b"\0" * 8
        data = data[: len(data) // 2]
    seen.write_bytes(data)
    said_of(refused("cache", "repair", str(seen), keeps=False))
    assert seen.is_file()
