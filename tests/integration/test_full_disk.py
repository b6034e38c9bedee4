"""Real disks that fill up while ``mvsa`` writes to them: small file systems in memory."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cli_support import files_below, paragraph

from mvsa_pipe.cache.content import parts_folder
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.manifest import Manifest
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.extraction import batches
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic

EXTRACT = ("extract", "--partner", "none", "--batch-size", "2", "--precision", "float32")


@pytest.fixture
def disk(tmp_path):
    """A file system of its own of one megabyte, and how to give it another size."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or _mount("size=1m", "-t", "tmpfs", "tmpfs", place):
        pytest.skip("only root may mount a small file system, and not everywhere")

    def resize(size):
        assert not _mount(f"remount,size={size}", place)

    yield place, resize
    subprocess.run(["umount", str(place)], check=True)


def _mount(options, *words):
    command = ["mount", "-o", options, *map(str, words)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def everything(cache):
    """All of the caches there but when they were written."""
    found = {}
    for entry in CacheFolder(cache).entries():
        header = entry.file.header
        rows = np.arange(len(header.ids))
        hidden, bounds = entry.file.hidden(rows)
        notes = {key: value for key, value in header.notes.items() if key != "written"}
        values = (entry.file.pooled(rows).tobytes(), hidden.tobytes(), bounds.tobytes())
        found[entry.path.name] = (header.ids, header.digests, header.quarantine, notes, values)
    return found


@pytest.fixture
def data(tmp_path):
    write_synthetic(tmp_path / "data", SyntheticConfig(posts=120, image_px=32))
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["tiny-text", "tiny-image"])
def test_an_extraction_goes_on_when_there_is_room(mvsa, disk, data, tmp_path, monkeypatch, name):
    monkeypatch.setattr(batches, "MOST_POSTS_A_PART", 16)
    (place, resize), words = disk, (*EXTRACT, "--backbone", name, "--data", data)
    assert mvsa(*words, "--cache", tmp_path / "whole").exit_code == 0
    size = FeatureFile(*(tmp_path / "whole").glob("*/*.h5")).header.payload_bytes
    resize(size // 2)  # half of the parts
    first = mvsa(*words, "--cache", place / "cache")
    text = paragraph(first.exit_code, first.stderr)
    assert "The disk is full; nothing already committed was lost" in text
    (folder,) = (place / "cache").glob("*/*.parts")
    parts = Manifest(folder).parts
    assert len(parts) >= 2
    before = {part.name: (folder / part.name).read_bytes() for part in parts}
    for part in parts:
        file = FeatureFile(folder / part.name)
        assert (file.seal, file.damaged_posts()) == (part.seal, [])
    assert not list(place.rglob("*.tmp"))
    again = mvsa(*words, "--cache", place / "cache")  # still no room
    assert "The disk is full" in paragraph(again.exit_code, again.stderr)
    assert all((folder / name).read_bytes() == held for name, held in before.items())
    resize(int(1.6 * size))  # room for all parts, none for the whole beside them
    joined = mvsa(*words, "--cache", place / "cache")
    assert "The disk is full" in paragraph(joined.exit_code, joined.stderr)
    assert sum(part.posts for part in Manifest(folder).parts) == 120
    resize(4 * size)
    done = mvsa(*words, "--cache", place / "cache", "--json")
    assert done.exit_code == 0, done.stderr
    assert '"extracted": 0' in done.stdout
    assert not parts_folder(Path(folder.with_suffix(".h5"))).exists()
    same = everything(place / "cache") == everything(tmp_path / "whole")
    assert same


def leave(disk, pages):
    """Fills the disk but for so many pages."""
    place, resize = disk
    resize("8m")
    (place / "filler").write_bytes(bytes(500_000))
    used = os.statvfs(place)
    resize((used.f_blocks - used.f_bfree + pages) * used.f_frsize)


@pytest.mark.parametrize("pages", [0, 2, 40, 120, 400, 1500])
@pytest.mark.usefixtures("workplace")
def test_a_full_disk_ends_a_fine_tuning_in_a_paragraph(mvsa, disk, pages):
    """Checkpoints are written by torch and safetensors, which have errors of their own."""
    words = ["finetune", "--head", "text", "--epochs", "1", "--device", "cpu", "--batch-size", "64"]
    tunable = ["--image-learning-rate", "0", "--unfreeze", "last-1", "--name", "one"]
    leave(disk, pages)
    runs = disk[0] / "runs"
    result = mvsa(*words, *tunable, "--runs", runs)
    assert "The disk is full" in paragraph(result.exit_code, result.stderr)
    assert not (runs / "one").exists()
    disk[1]("64m")
    assert mvsa(*words, *tunable, "--runs", runs).exit_code == 0
    assert sorted(path.name for path in runs.iterdir()) == ["one"]


@pytest.mark.parametrize("pages", [0, 1, 8, 40, 800])
@pytest.mark.usefixtures("place")
def test_a_full_disk_ends_an_export_in_a_paragraph(mvsa, disk, pages):
    leave(disk, pages)
    output = disk[0] / "out"
    result = mvsa("export", "runs/both", "--output", output, "--no-onnx")
    assert "The disk is full" in paragraph(result.exit_code, result.stderr)
    assert [path.name for path in disk[0].iterdir()] == ["filler"]
    disk[1]("64m")
    assert mvsa("export", "runs/both", "--output", output, "--no-onnx").exit_code == 0


@pytest.mark.parametrize("pages", [0, 1, 2, 4])
@pytest.mark.usefixtures("workplace")
def test_a_run_is_written_whole_or_not_at_all(mvsa, disk, pages):
    """With so many pages left, that are filled at one file or another of the run."""
    (place, resize), runs = disk, disk[0] / "runs"
    words = ("fit", "--head", "text", "--epochs", "1", "--runs", runs, "--name", "one")
    filler = place / "filler"
    filler.write_bytes(bytes(500_000))
    used = os.statvfs(place)
    resize((used.f_blocks - used.f_bfree + pages) * used.f_frsize)
    result = mvsa(*words)
    text = paragraph(result.exit_code, result.stderr)
    assert "The disk is full" in text
    assert str(runs) in text
    left = [path for path in files_below(place) if path != str(filler)]
    assert left == []
    shutil.rmtree(runs, ignore_errors=True)
    resize("8m")
    assert mvsa(*words).exit_code == 0
    assert mvsa("evaluate", runs / "one").exit_code == 0
