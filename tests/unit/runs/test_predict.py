"""New posts asked of a run: each is predicted or answered with its error."""

import csv
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import CacheError, ConfigError, DataError, StorageError
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.posts import ReadOptions, read_posts
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.predict import predict, predict_one, read_posts_to_predict, write_results

OPTIONS = InferenceOptions(device="cpu")
PICTURE = Path("data/data/1.jpg")


def ask(run, table, options=OPTIONS):
    return predict(
        run, read_posts_to_predict(Path(table), ReadOptions(), run), options, NoProgress()
    )


def one(run, text, image):
    return predict_one(run, text, image, OPTIONS, NoProgress())


def write_table(rows, name="new.csv"):
    with Path(name).open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text", "image"], *rows])
    return name


def cached():
    return sorted(path for path in Path("cache").rglob("*") if path.is_file())


def test_the_runs_own_posts_are_predicted_as_they_were(make_run):
    run = make_run()
    answer = predict(run, read_posts(Path("data")), OPTIONS, NoProgress())
    assert answer.faults == {}
    by_id = {row.post_id: row.prediction for row in answer.predictions}
    with (run.path / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert by_id[row["post_id"]] == row["prediction"]


def test_one_post_is_what_it_is_in_the_table(make_run):
    run = make_run()
    text = Path("data/data/1.txt").read_text().strip()
    before = cached()
    alone = one(run, text, PICTURE)
    assert cached() == before
    together = predict(run, read_posts(Path("data")), OPTIONS, NoProgress())
    same = next(row for row in together.predictions if row.post_id == "1")
    # alone it stands in another batch, whose sums round otherwise
    assert alone.predictions[0].probabilities == pytest.approx(same.probabilities, abs=0.02)
    assert alone.predictions[0].prediction == same.prediction


def test_no_file_is_written_outside_the_output(make_run, tmp_path, monkeypatch):
    run = make_run()
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(tempfile, "tempdir", None)  # found anew from TMPDIR
    write_table([["a", "fine", PICTURE], ["b", "no picture", ""]])
    before = sorted(tmp_path.rglob("*"))
    for options in (OPTIONS, replace(OPTIONS, cache=Path("nowhere"))):
        predict_one(run, "a day", PICTURE, options, NoProgress())
        assert ask(run, "new.csv", options).predictions
        predict(run, read_posts(Path("data")), options, NoProgress())
    assert sorted(tmp_path.rglob("*")) == before
    write_results(tmp_path / "out.csv", ask(run, "new.csv"))
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "out.csv"])


@pytest.mark.parametrize("head", ["native-cat", "logistic", "text"])
def test_features_in_memory_answer_as_cached_ones_do(make_run, head):
    """The cache was filled by these posts alone, so that its batches are the same."""
    run = make_run(head)
    posts = read_posts(Path("data"))
    from_cache = predict(run, posts, OPTIONS, NoProgress())
    in_memory = predict(run, posts, replace(OPTIONS, cache=Path("nowhere")), NoProgress())
    assert in_memory == from_cache


def test_a_cache_that_lacks_some_of_the_posts_is_not_read(make_run):
    run = make_run()
    posts = read_posts(Path("data"))
    text = replace(posts.posts[0], text="other words")
    changed = replace(posts, posts=(text, *posts.posts[1:]))
    fresh = predict(run, changed, replace(OPTIONS, cache=Path("nowhere")), NoProgress())
    assert predict(run, changed, OPTIONS, NoProgress()) == fresh


def test_pictures_that_an_extraction_refused_are_answered_from_its_cache(make_run, monkeypatch):
    run = make_run()
    Path("data/data/5.jpg").write_text("no picture")
    posts = read_posts(Path("data"))
    skipping = ExtractOptions(on_bad_post=BadPostPolicy.SKIP)
    extract(posts, BackboneOptions("tiny-image"), skipping, NoProgress())
    monkeypatch.setattr("mvsa_pipe.runs.inference.load_forwards", None)  # no backbone is loaded
    answer = predict(run, posts, OPTIONS, NoProgress())
    assert answer.faults == {"5": "A file is no picture"}
    assert len(answer.predictions) == len(posts) - 1


def test_no_posts_give_no_predictions(make_run):
    run = make_run()
    posts = replace(read_posts(Path("data")), posts=())
    answer = predict(run, posts, OPTIONS, NoProgress())
    assert (answer.predictions, answer.faults) == ([], {})


def test_a_backbone_with_other_weights_is_refused(make_run):
    run = make_run()
    path = run.path / "config.json"
    path.write_text(path.read_text().replace('\\"weights\\": \\"', '\\"weights\\": \\"00'))
    with pytest.raises(CacheError, match="has changed since this run's features were extracted"):
        one(open_run(run.path), "a day", PICTURE)


def test_posts_without_a_half_are_answered_and_the_others_predicted(make_run):
    run = make_run()
    rows = [["a", "fine", PICTURE], ["b", "no picture", ""], ["c", "gone", "data/data/x.jpg"]]
    answer = ask(run, write_table(rows))
    assert [row.post_id for row in answer.predictions] == ["a"]
    missing = "it has no image: data/data/x.jpg was not found"
    assert answer.faults == {"b": "it has no image", "c": missing}


@pytest.mark.parametrize("kept", [True, False])
def test_broken_pictures_are_answered_even_if_nothing_else_is_there(make_run, kept):
    run = make_run()
    Path("broken.jpg").write_text("no picture")
    rows = [["a", "fine", PICTURE]] if kept else []
    answer = ask(run, write_table([*rows, ["b", "broken", "broken.jpg"]]))
    assert [row.post_id for row in answer.predictions] == ["a"] * kept
    assert answer.faults == {"b": "A file is no picture"}
    again = ask(run, "new.csv")
    assert again.faults == answer.faults
    assert again.predictions == answer.predictions


def test_features_of_another_table_of_the_same_name_are_never_taken(make_run):
    """Post 1 had a good picture in the first table; in the second it is broken."""
    run = make_run()
    ask(run, write_table([["1", "fine", PICTURE], ["2", "fine", "data/data/2.jpg"]]))
    Path("second/data/data").mkdir(parents=True)
    Path("second/data/data/1.jpg").write_text("no picture")
    shutil.copy("data/data/3.jpg", "second/data/data/2.jpg")
    shutil.copy("new.csv", "second/new.csv")
    answer = ask(run, "second/new.csv")
    assert answer.faults == {"1": "A file is no picture"}
    fresh = ask(run, "second/new.csv", replace(OPTIONS, cache=Path("fresh")))
    assert answer.predictions[0].probabilities == pytest.approx(
        fresh.predictions[0].probabilities, abs=1e-6
    )


def test_a_mended_picture_is_predicted(make_run):
    run = make_run()
    Path("broken.jpg").write_text("no picture")
    table = write_table([["a", "fine", PICTURE], ["b", "broken", "broken.jpg"]])
    assert ask(run, table).faults
    shutil.copy(PICTURE, "broken.jpg")
    answer = ask(run, table)
    assert answer.faults == {}
    assert len(answer.predictions) == 2


def test_a_head_of_text_needs_no_picture(make_run):
    run = make_run("text")
    assert one(run, "I love it", None).predictions
    answer = ask(run, write_table([["a", "fine", ""], ["b", "fine", "gone.jpg"]]))
    assert len(answer.predictions) == 2
    with pytest.raises(ConfigError, match=r"reads the text of a post.*Expected --text\."):
        one(run, None, PICTURE)


def test_a_head_asks_for_the_halves_that_it_reads(make_run):
    with pytest.raises(ConfigError, match=r"reads the image of a post.*--text and --image"):
        one(make_run(), "I love it", None)


def test_a_table_needs_no_column_that_the_head_does_not_read(make_run):
    Path("bare.csv").write_text("text\nfine\nbad day\n")
    run = make_run("text")
    assert [row.post_id for row in ask(run, "bare.csv").predictions] == ["1", "2"]
    posts = read_posts_to_predict(Path("bare.csv"), ReadOptions(), run)
    assert any("number of their row" in note for note in posts.notes)
    with pytest.raises(DataError, match="number"):
        read_posts_to_predict(Path("bare.csv"), ReadOptions(id_column="number"), run)
    Path("linked.csv").write_text("id,text,image\na,fine,http://x.org/1.jpg\n")
    assert len(ask(run, "linked.csv").predictions) == 1


def test_an_empty_text_is_a_text(make_run):
    assert one(make_run(), "", PICTURE).predictions


def test_labels_are_neither_needed_nor_read(make_run):
    run = make_run()
    Path("labelled.csv").write_text("id,text,image,label\n1,fine,data/data/1.jpg,whatever\n")
    assert ask(run, "labelled.csv").predictions


def test_a_picture_that_is_not_there_is_an_error(make_run):
    with pytest.raises(DataError, match=r"image does not exist.*nowhere\.jpg"):
        one(make_run(), "text", Path("nowhere.jpg"))


def test_the_table_of_answers_names_every_post_once(make_run):
    run = make_run()
    answer = ask(run, write_table([["a, b", "fine", PICTURE], ["[c]", "x", ""]]))
    write_results(Path("out/answer.csv"), answer)
    with Path("out/answer.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["post_id"] for row in rows] == ["a, b", "[c]"]
    assert rows[0]["error"] == ""
    assert rows[0]["prediction"] in answer.classes
    assert sum(float(rows[0][f"p_{name}"]) for name in answer.classes) == pytest.approx(1, abs=1e-5)
    assert rows[1]["error"] == "it has no image"
    assert rows[1]["prediction"] == rows[1]["p_neutral"] == ""


def test_an_answer_replaces_an_older_one_whole_or_not_at_all(make_run, monkeypatch):
    run = make_run()
    answer = ask(run, write_table([["a", "fine", PICTURE]]))
    Path("out.csv").write_text("older\n")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        write_results(Path("out.csv"), answer)
    assert Path("out.csv").read_text() == "older\n"
    assert not list(Path().glob(".out*"))
