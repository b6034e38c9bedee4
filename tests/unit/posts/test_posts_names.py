"""Names that come from data never lead out of the folder that they belong in."""

import json
import zipfile
from pathlib import Path

import pytest
from feature_caches import fingerprint

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.disk import inside, name_fault
from mvsa_pipe.errors import ConfigError, StorageError
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.formats import kebab
from mvsa_pipe.runs import checked_run_name

HOSTILE = [
    "../../out",
    "..",
    ".",
    "",
    "/tmp/out",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "\ud800",
    "x" * 300,
    "ü" * 130,
]


@pytest.mark.parametrize("name", [*HOSTILE, 7, None, ["a"], "a b", "-", "a..b"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_marker_may_not_name_a_path(tmp_path, name, packed):
    files = {
        "mvsa.json": json.dumps({"name": name}),
        "posts.csv": "id,text,image,label\n1,a,,x\n2,b,,y\n",
    }
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    path = tmp_path
    if packed:
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file, text in files.items():
                archive.writestr(file, text)
    with pytest.raises(ConfigError, match=r"data set's name cannot be used.*mvsa\.json"):
        read_posts(path)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leads_out_of_the_folder_of_caches(tmp_path, name):
    folder = CacheFolder(tmp_path / "cache")
    for call in (
        lambda: folder.path_of(name, fingerprint()),
        lambda: folder.of_fingerprint(name, fingerprint()),
        lambda: folder.fitting(name, fingerprint().modality),
        lambda: folder.path_of("set", fingerprint(), mark=f"../{name}"),
        lambda: folder.path_of("set", fingerprint(), shard=f"../{name}"),
    ):
        with pytest.raises(StorageError, match="would be outside of its folder"):
            call()


def test_no_backbone_leads_out_of_the_folder_of_caches(tmp_path):
    for name in ("hf-text:../../x", "/etc/passwd", "..", "x" * 1000):
        path = CacheFolder(tmp_path).path_of("set", fingerprint(backbone=name))
        assert path.parent == tmp_path / "set"
        assert len(path.name) < 200


def test_no_link_leads_out_of_a_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "set").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"leads to .*elsewhere"):
        CacheFolder(tmp_path / "cache").path_of("set", fingerprint())
    (tmp_path / "linked").symlink_to(tmp_path / "cache")  # the root itself may be one
    assert inside(tmp_path / "linked", "other").parent == tmp_path / "linked"


@pytest.mark.parametrize("name", [*HOSTILE, ".hidden"])
def test_no_run_has_such_a_name(name):
    with pytest.raises(ConfigError, match="--name cannot be used"):
        checked_run_name(name)


def test_sound_names_are_taken(tmp_path):
    for name in ("mvsa-single", "пост", "a.b_c", "x" * 120):
        assert name_fault(name) == ""
        assert inside(tmp_path, name) == tmp_path / name
        assert checked_run_name(name) == name


def test_a_name_made_of_a_long_file_name_can_be_that_of_a_folder():
    for stem in ("x" * 250, "ü" * 120, "-" * 200, "\udcff" * 9):
        assert name_fault(kebab(stem)) == ""
        assert Path(kebab(stem)).name == kebab(stem)
