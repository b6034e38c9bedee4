"""Doubtful labels: flipped ones are found, and heads keep their ranks where these say so."""

from dataclasses import replace

import numpy as np
import pytest
from analysed_runs import RunMaker, copied
from sklearn.metrics import roc_auc_score

from mvsa_pipe.analysis import suspects as suspects_module
from mvsa_pipe.analysis.labels import labels
from mvsa_pipe.analysis.options import LabelsOptions
from mvsa_pipe.analysis.out_of_fold import OutOfFold, out_of_fold
from mvsa_pipe.analysis.suspects import find_suspects, kind_table, suspect_table
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import CacheError, ConfigError, DataError, RunError
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.in_memory import posts_in_memory
from mvsa_pipe.posts.synthetic.write import SyntheticConfig, write_synthetic
from mvsa_pipe.progress import NO_PROGRESS

OPTIONS = LabelsOptions(resamples=20, folds=3, device="cpu")
FLIPPED = 16
OPPOSITE = {"positive": "negative", "negative": "positive", "neutral": "neutral"}


@pytest.fixture(scope="module")
def flipped(tmp_path_factory):
    """Runs over posts that can be learned without error, but for some flipped labels; their ids."""
    root = tmp_path_factory.mktemp("flipped")
    write_synthetic(root / "data", SyntheticConfig(posts=400, image_px=32, noise=0.0))
    ids = flip(root / "data" / "labelResultAll.txt")
    posts = read_posts(root / "data")
    for name in ("tiny-text", "tiny-image"):
        extract(posts, BackboneOptions(name), ExtractOptions(cache=root / "cache"), NO_PROGRESS)
    return [RunMaker(root)(head) for head in ("logistic", "text")], ids


def flip(path):
    """Makes positive posts negative and the reverse, in the published list."""
    lines = path.read_text(encoding="utf-8").splitlines()
    polar = [n for n, line in enumerate(lines[1:], 1) if "tive" in line]
    chosen = np.random.default_rng(0).choice(polar, FLIPPED, replace=False)
    for n in chosen:
        post, pair = lines[n].split("\t")
        lines[n] = f"{post}\t{','.join(OPPOSITE[label] for label in pair.split(','))}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {lines[n].split("\t")[0] for n in chosen}


@pytest.fixture(scope="module")
def found(flipped):
    return labels(flipped[0], OPTIONS, NO_PROGRESS)


def test_flipped_labels_are_found(flipped, found):
    suspects = {each["post"]: each for each in found.values["suspects"]}
    hits = flipped[1] & suspects.keys()
    assert len(hits) >= 0.9 * FLIPPED
    right = [OPPOSITE[suspects[post]["given"]] == suspects[post]["suggested"] for post in hits]
    assert np.mean(right) > 0.7
    assert found.posts == 400


def test_flipped_labels_have_the_least_quality(flipped):
    run = next(run for run in flipped[0] if run.config["head"] == "logistic")
    found = find_suspects(out_of_fold([run], replace(OPTIONS, head="native-cat"), NO_PROGRESS))
    wrong = [post in flipped[1] for post in found.judged.ids]
    assert roc_auc_score(wrong, -found.quality) > 0.97


def test_heads_are_ranked_with_and_without_suspects(found):
    table = found.table("heads on")
    assert [row[1] for row in table.rows] == [1, 2]
    before, after = (
        {row[0]: row[at].value for row in table.rows}
        for at in (table.columns.index("accuracy"), table.columns.index("accuracy then"))
    )
    assert all(after[head] >= before[head] for head in before)
    assert "of 1 pair of heads." in " ".join(found.verdict)


def test_texts_are_listed_only_where_asked(flipped, found):
    assert "text" not in found.table("most doubtful").columns
    asked = replace(OPTIONS, with_posts=True, listed=2)
    table = labels(flipped[0], asked, NO_PROGRESS).table("most doubtful")
    post, text, image = (table.rows[0][table.columns.index(c)] for c in ("post", "text", "picture"))
    assert len(table.rows) == 2
    assert text
    assert post in image
    assert "text" not in found.as_record()["values"]["suspects"][0]


def test_single_annotators_and_pairs_are_told(found):
    assert any("one annotator each" in line for line in found.method)
    assert any("Text and picture have the same label" in line for line in found.verdict)
    (plot,) = [plot for plot in found.plots if plot.title == "posts by their two labels"]
    assert sum(map(sum, plot.values)) == 400


def test_judged_by_a_head_without_the_cached_features(flipped):
    text = [run for run in flipped[0] if run.config["head"] == "text"]
    with pytest.raises(RunError, match=r"features that head 'logistic' reads.*--head text"):
        labels(text, OPTIONS, NO_PROGRESS)


def test_caches_that_are_gone_are_named(flipped, tmp_path):
    (run, _) = flipped[0]
    caches = {
        m: record | {"path": str(tmp_path / "a" / "b" / "c")}
        for m, record in run.config["caches"].items()
    }
    moved = replace(run, config=run.config | {"caches": caches})
    with pytest.raises(CacheError, match="--cache names the folder"):
        labels([moved], OPTIONS, NO_PROGRESS)
    there = replace(OPTIONS, cache=run.path.parents[1] / "cache")
    assert labels([moved], there, NO_PROGRESS).posts == 400


def test_posts_that_changed_are_refused(flipped, monkeypatch):
    run = flipped[0][0]
    monkeypatch.setitem(run.config["data"], "digest", "00000000")
    with pytest.raises(DataError, match="labels changed since the run"):
        labels([run], OPTIONS, NO_PROGRESS)


def test_a_missing_package_is_one_paragraph(flipped, monkeypatch):
    monkeypatch.setattr(suspects_module, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r'pip install "mvsa-pipe\[labels\]"'):
        labels(flipped[0], OPTIONS, NO_PROGRESS)


def test_three_annotators_give_the_ceiling(pipeline, tmp_path):
    """The third annotator calls every other polar post the opposite; one post has no majority."""
    made = copied(pipeline, tmp_path)
    path = tmp_path / "data" / "labelResultAll.txt"
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    lines, hits, decided = ["ID\ttext,image\ttext,image\ttext,image"], 0, 0
    for n, (post, pair) in enumerate(rows):
        third = ",".join(OPPOSITE[label] for label in pair.split(",")) if n % 2 else pair
        lines.append("\t".join([post, pair, pair, third]))
        hits += 3 if third == pair else 0
        decided += 3 if third == pair else 1
    lines[1] = f"{rows[0][0]}\tpositive,neutral\tnegative,neutral\tneutral,neutral"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = labels([made("logistic")], OPTIONS, NO_PROGRESS)
    table = found.table("annotators of")
    assert table.title == "annotators of 100 posts"  # also of the one that the reader leaves out
    ceiling = next(row for row in table.rows if row[0] == "post")[4].value
    assert ceiling == pytest.approx((hits - 3) / (decided - 3))
    kinds = {row[0]: row[1] for row in found.table("posts by kind").rows}
    assert kinds["annotators unanimous"] + kinds["annotators differ"] == kinds["all"] == 99
    assert any("One annotator reaches" in line for line in found.verdict)


def judged(probabilities, given):
    classes = ("no", "yes")
    posts = posts_in_memory(
        [f"text {k}" for k in range(len(given))], None, [classes[k] for k in given]
    )
    groups = np.arange(len(given)) // 2
    shares = np.stack([1 - probabilities, probabilities], axis=1)
    ids = tuple(post.id for post in posts.posts)
    return OutOfFold(posts, ids, np.array(given), shares, groups, "logistic", 5)


def test_posts_without_separate_labels_are_judged_too():
    given = np.array([0, 1] * 20)
    probabilities = np.where(given == 1, 0.95, 0.05)
    given[[4, 7]] = 1 - given[[4, 7]]
    found = find_suspects(judged(probabilities, given))
    assert found.places == [4, 7]
    assert found.quality[[4, 7]] == pytest.approx([0.05, 0.05])
    assert "text label" not in suspect_table(found, OPTIONS).columns
    kinds = {row[0]: row for row in kind_table(found, OPTIONS).rows}
    assert kinds["all"][2].value == pytest.approx(38 / 40)
    # groups 2 (posts 4 and 5) and 3 (posts 6 and 7) now have equal labels: 18 others differ
    assert kinds["duplicates with different labels"][1] == 36
    assert kinds["duplicates with different labels"][3].value == 0
