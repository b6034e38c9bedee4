"""Ids and classes that a spreadsheet would compute: text in every CSV, and the same when read."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from mvsa_pipe.runs import open_run

CLASSES = ("=1+1", "-1", "@b")


@pytest.fixture
def posts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of posts in ``posts.csv``, which is in the working directory."""
    monkeypatch.chdir(tmp_path)
    ids = [("={}", "'={}", "+{}+", "{}", "'{}", "@{}")[n % 6].format(n) for n in range(60)]
    with Path("posts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "image", "label"])
        for n, post_id in enumerate(ids):
            picture = Image.new("RGB", (40, 40), (n * 4, 255 - n * 4, (n * 37) % 256))
            picture.putpixel((n % 40, n // 40), (255, 255, 255))
            picture.save(f"{n}.png")
            writer.writerow([post_id, f"words {n}", f"{n}.png", CLASSES[n % 3]])
    return ids


def test_round_trip(mvsa, posts: list[str]) -> None:
    data = ["--data", "posts.csv"]
    assert mvsa("extract", *data, "--backbone", "tiny-text", "--partner", "none").exit_code == 0
    fit = ["fit", *data, "--head", "text", "--epochs", "1", "--text", "tiny-text"]
    assert mvsa(*fit, "--name", "one").exit_code == 0
    written = Path("runs/one/predictions.csv").read_text() + Path("runs/one/split.csv").read_text()
    cells = [cell for row in csv.reader(written.splitlines()) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
    assert {cell for cell in cells if cell.startswith("-")} == {"-1"}

    run = open_run(Path("runs/one"))
    assert sorted(member.post_id for member in run.members()) == sorted(posts)
    assert {r.label for r in run.predictions()} == set(CLASSES)
    assert {r.post_id for r in run.predictions()} < set(posts)
    result = mvsa("evaluate", "runs/one", *data, "--json")
    assert result.exit_code == 0, result.stderr
    again = mvsa(*fit, "--name", "two", "--split", "runs/one/split.csv")
    assert again.exit_code == 0, again.stderr
    one, two = (open_run(Path(f"runs/{name}")).members() for name in ("one", "two"))
    assert sorted(map(repr, one)) == sorted(map(repr, two))

    asked = mvsa("predict", "runs/one", *data, "--output", "answer.csv", "--json")
    assert {row["post_id"] for row in json.loads(asked.stdout)["predictions"]} == set(posts)
    with Path("answer.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert not [row for row in rows if row["post_id"].startswith(("=", "+", "@"))]
