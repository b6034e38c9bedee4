"""Data sets in small, written as each format has them."""

import zipfile
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from mvsa_pipe.posts.post import Post, PostSet
from mvsa_pipe.posts.storage.base import FolderStorage

REAL_ZIP = Path(__file__).parents[4] / "shared" / "data" / "MVSA_Single_dev.zip"


def jpeg(number: int = 0) -> bytes:
    """A small JPEG that no other number gives."""
    buffer = BytesIO()
    colour = (number % 256, number // 256 % 256, 99)
    Image.new("RGB", (8 + number % 7, 8), colour).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The shared folder beside the repository, which holds the real posts."""
    if not REAL_ZIP.is_file():
        pytest.skip(f"the real posts are not at {REAL_ZIP}")
    return REAL_ZIP.parents[1]


MvsaWriter = Callable[..., Path]


@pytest.fixture
def write_mvsa(tmp_path: Path) -> MvsaWriter:
    """Writes a folder in MVSA's layout from rows of the list."""

    def write(
        rows: Iterable[str] = ("1\tpositive,neutral", "2\tneutral,neutral", "3\tnegative,negative"),
        *,
        folder: str = "set",
        header: str | None = "ID\ttext,image",
        newline: str = "\n",
        files: bool = True,
    ) -> Path:
        root = tmp_path / folder
        (root / "data").mkdir(parents=True)
        listed = list(rows)
        lines = ([] if header is None else [header]) + listed
        text = newline.join(lines) + newline
        (root / "labelResultAll.txt").write_bytes(text.encode())
        for row in listed if files else []:
            post_id = row.split("\t")[0]
            (root / "data" / f"{post_id}.txt").write_text(f"tweet number {post_id}\n")
            (root / "data" / f"{post_id}.jpg").write_bytes(jpeg(int(post_id)))
        return root

    return write


@pytest.fixture
def zipped() -> Callable[[Path, str], Path]:
    """Packs a folder into a zip beside it, below ``inside``."""

    def pack(folder: Path, inside: str = "") -> Path:
        archive = folder.with_suffix(".zip")
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    out.write(path, inside + path.relative_to(folder).as_posix())
        return archive

    return pack


def post_set(
    labels: Iterable[str | None],
    texts: Iterable[str] | None = None,
    classes: tuple[str, ...] = ("negative", "neutral", "positive"),
) -> PostSet:
    """Posts without pictures, for whatever looks at labels and texts alone."""
    listed = list(labels)
    words = [f"tweet {n}" for n in range(len(listed))] if texts is None else list(texts)
    posts = tuple(
        Post(str(n), text, None, label)
        for n, (label, text) in enumerate(zip(listed, words, strict=True))
    )
    return PostSet("toy", classes, posts, FolderStorage(Path()))


@pytest.fixture(name="post_set")
def post_set_fixture() -> Callable[..., PostSet]:
    return post_set


@pytest.fixture(name="jpeg")
def jpeg_fixture() -> Callable[[int], bytes]:
    return jpeg
