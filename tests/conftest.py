"""Shape annotations are checked while the tests run, in the rooms that handle tensors."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from shape_checks import begin_test, check_shapes

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the hub is never asked while tests run
# Digests of own heads that tests name are not kept in the user's folder.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="mvsa-tests-")
os.environ["COLUMNS"] = "120"  # tables are as wide wherever the tests run
# Small operations on two threads wait for whatever else the machine does.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before anything of the package is imported.
_TENSOR_ROOMS = (
    "features",
    "backbones",
    "heads",
    "baselines",
    "resident",
    "joined",
    "streamed",
    "training",
)
check_shapes([f"mvsa_pipe.{room}" for room in _TENSOR_ROOMS])


def pytest_runtest_setup() -> None:
    begin_test()


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with synthetic posts in ``data`` and their features in ``cache``; read it only."""
    from mvsa_pipe.backbones.options import BackboneOptions
    from mvsa_pipe.extraction.extract import extract
    from mvsa_pipe.extraction.options import ExtractOptions
    from mvsa_pipe.posts import read_posts
    from mvsa_pipe.posts.synthetic.config import SyntheticConfig
    from mvsa_pipe.posts.synthetic.write import write_synthetic
    from mvsa_pipe.progress import NoProgress

    root = tmp_path_factory.mktemp("pipeline")
    write_synthetic(root / "data", SyntheticConfig(posts=100, image_px=32))
    posts = read_posts(root / "data")
    for name in ("tiny-text", "tiny-image"):
        extract(posts, BackboneOptions(name), ExtractOptions(cache=root / "cache"), NoProgress())
    return root


@pytest.fixture
def workplace(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of those posts and features, as the working directory."""
    root = tmp_path / "workplace"
    shutil.copytree(pipeline, root)
    monkeypatch.chdir(root)
    return root
