"""The documented layout is the layout: the page's own snippet reads a cache."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from cache_support import IMAGE, TEXT, rows_of

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.writer import open_writer

PAGE = (Path(__file__).parents[3] / "cache" / "README.md").read_text(encoding="utf-8")
IDS = ["a", "b", "ü"]


@pytest.fixture(params=[TEXT, IMAGE], ids=["text", "image"])
def file(request, tmp_path):
    with open_writer(CacheFolder(tmp_path), "set", request.param) as writer:
        writer.commit(rows_of(IDS, request.param))
        return writer.finish(IDS, {})


def test_the_snippet_reads_a_cache(file):
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names = {"path": file.path}
    exec(snippet, names)
    rows = rows_of(IDS, file.header.fingerprint)
    assert names["ids"] == IDS
    assert (names["pooled"] == rows.pooled).all()
    assert (np.concatenate(names["hidden"]).ravel() == rows.hidden.ravel()).all()


def test_every_data_set_and_attribute_is_documented(file):
    with h5py.File(file.path) as raw:
        for name in [*(f"/{key}" for key in raw), *raw.attrs]:
            assert f"`{name}`" in PAGE
