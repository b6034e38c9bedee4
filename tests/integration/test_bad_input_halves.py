"""Posts whose text or picture is missing, broken, or changed since it was extracted."""

import json
import re
import struct
import zlib
from pathlib import Path

import pytest

EXTRACT = ("extract", "--partner", "none", "--backbone")
FIT = ("fit", "--head", "native-cat", "--epochs", "1")


def new_posts(*rows):
    Path("new.csv").write_text("\n".join(["id,text,image,label", *rows]) + "\n")
    return "new.csv"


def bomb():
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def spoil_pictures():
    folder = Path("data/data")
    (folder / "1.jpg").write_bytes((folder / "1.jpg").read_bytes()[:300])
    (folder / "2.jpg").write_text("I am no picture")
    (folder / "3.jpg").write_bytes(b"")
    (folder / "4.jpg").write_bytes(bomb())
    (folder / "5.jpg").unlink()
    return {"1": "cut short", "2": "no picture", "3": "empty", "4": "too large", "5": "no image"}


@pytest.mark.usefixtures("place")
def test_broken_pictures_are_named_all_at_once(refused, mvsa):
    faults = spoil_pictures()
    text = refused(*EXTRACT, "tiny-image", "--cache", "new", keeps=False)
    assert "5 posts" in text
    for post_id, fault in faults.items():
        assert re.search(rf"\b{post_id}: [^,]*{fault}", text), text
    assert "--on-bad-image skip" in text
    skipped = mvsa(*EXTRACT, "tiny-image", "--cache", "new", "--on-bad-image", "skip")
    assert skipped.exit_code == 0, skipped.output
    assert "0 extracted, 95 already cached, 5 skipped" in skipped.stdout
    assert mvsa(*EXTRACT, "tiny-text", "--cache", "new").exit_code == 0
    fit = mvsa(*FIT, "--cache", "new", "--json")
    assert sorted(json.loads(fit.stdout)["left_out"]) == sorted(faults)


@pytest.mark.usefixtures("place")
def test_pictures_broken_after_their_extraction_are_never_answered_from_the_cache(refused, mvsa):
    faults = spoil_pictures()
    text = refused(*FIT)
    assert "5 posts is not what was extracted" in text
    assert "mvsa extract --data data --backbone tiny-image" in text
    refused("extract", "--data", "data", "--backbone", "tiny-image", keeps=False)
    skip = ["--on-bad-image", "skip"]
    assert mvsa("extract", "--data", "data", "--backbone", "tiny-image", *skip).exit_code == 0
    fit = mvsa(*FIT, "--json")
    assert fit.exit_code == 0, fit.stderr
    assert sorted(json.loads(fit.stdout)["left_out"]) == sorted(faults)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("policy", ["error", "skip"])
def test_no_picture_at_all(refused, policy):
    table = new_posts("1,a,gone.jpg,pos", "2,b,,neg")
    words = ["--data", table, "--cache", "new", "--on-bad-image", policy]
    text = refused(*EXTRACT, "tiny-image", *words, keeps=False)
    assert "2 posts" in text
    assert not list(Path("new").glob("*/*.h5"))


@pytest.mark.usefixtures("place")
def test_posts_without_text(refused, mvsa):
    Path("data/data/9.txt").unlink()
    text = refused(*EXTRACT, "tiny-text", "--cache", "new", keeps=False)
    assert "9: it has no text" in text
    skip = mvsa(*EXTRACT, "tiny-text", "--cache", "new", "--on-bad-image", "skip")
    assert "1 skipped" in skip.stdout


@pytest.mark.usefixtures("place")
def test_bytes_that_are_no_utf8_are_read_all_the_same(mvsa):
    Path("data/data/9.txt").write_bytes(b"na\xefve caf\xe9 \xff\xfe")
    Path("data/data/8.txt").write_bytes("好 \xa1\xad".encode("gb18030"))
    result = mvsa(*EXTRACT, "tiny-text", "--cache", "new")
    assert result.exit_code == 0, result.output
    record = json.loads(mvsa("data", "check", "data", "--json").stdout)
    assert record["encodings"] == {"utf-8": 98, "latin-1": 1, "gb18030": 1}
