"""Every code block of the documentation runs."""

import re
import sys
from pathlib import Path

import pytest
from doc_blocks import run_blocks
from own_code import start_again

from mvsa_pipe.posts.formats import FORMATS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def reader(workplace, monkeypatch, tmp_path):
    """Somebody who has posts and caches, and has not run anything of the page yet."""
    start_again(monkeypatch, tmp_path / "state")
    monkeypatch.setattr(FORMATS, "_rows", dict(FORMATS._rows))
    monkeypatch.setattr(FORMATS, "_added", {})
    monkeypatch.syspath_prepend(workplace)
    yield
    for name in ("my_heads", "mixing", "my_backbones"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("page", "blocks"),
    [("add.md", 10), ("analysis.md", 9), ("benches.md", 1), ("evidence.md", 1), ("report.md", 1)],
)
def test_every_block_runs(page, blocks, mvsa):
    assert run_blocks(DOCS / page, mvsa) == blocks


@pytest.mark.usefixtures("reader")
def test_controlled_posts_can_be_written(mvsa):
    assert run_blocks(DOCS / "relations.md", mvsa) == 1


def test_the_tutorial_runs(mvsa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = (DOCS / "tutorial.md").read_text(encoding="utf-8").count("```") // 2
    assert run_blocks(DOCS / "tutorial.md", mvsa) == blocks > 10


def test_the_notebook_of_the_readme_runs(mvsa, workplace):
    """With tiny backbones and few epochs in the place of published ones."""
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n.*?^```$", readme, re.MULTILINE | re.DOTALL)
    (block,) = (each for each in blocks if "import mvsa_pipe as mv" in each)
    for published, here in (
        ("data/MVSA_Single.zip", "data"),
        ("bert", "tiny-text"),
        ("dinov2", "tiny-image"),
        ("day.jpg", next(iter((workplace / "data").rglob("*.jpg"))).as_posix()),
        ("seed=0", "seed=0, epochs=1"),
        ("seeds=5", "seeds=2, epochs=1"),
    ):
        assert published in block
        block = block.replace(published, here)
    page = workplace / "page.md"
    page.write_text(block + "\n", encoding="utf-8")
    assert run_blocks(page, mvsa) == 1


def test_a_block_that_fails_is_told_with_its_line(tmp_path, monkeypatch, mvsa):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("A page.\n\n```python\nx = 1\n1 / 0\n```\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError) as caught:
        run_blocks(page, mvsa)
    assert caught.traceback[-1].lineno == 4
    page.write_text("```console\n$ mvsa heads check nope  # exit code 0\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"line 2: .*nope"):
        run_blocks(page, mvsa)
