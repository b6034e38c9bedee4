"""Pooled vectors alone (``extract --keep pooled``) from outside, through every verb."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.extraction import batches

EXTRACT = ("extract", "--backbone", "tiny-text", "--backbone", "tiny-image")
ONE = ("extract", "--backbone", "tiny-text", "--partner", "none")
FIT = ("fit", "--epochs", "1", "--head")


def cache_of(name, folder="pooled"):
    (path,) = Path(folder).glob(f"*/{name}-*.h5")
    return path


def vectors(path):
    with h5py.File(path) as file:
        order = np.argsort(file["ids"][:])
        return file["pooled"][:][order]


@pytest.fixture
def pooled(workplace, mvsa):
    """Caches of pooled vectors alone in ``pooled``, beside those of all in ``cache``."""
    result = mvsa(*EXTRACT, "--keep", "pooled", "--cache", "pooled")
    assert result.exit_code == 0, result.output
    return workplace


@pytest.mark.usefixtures("pooled")
@pytest.mark.parametrize("name", ["tiny-text", "tiny-image"])
def test_its_vectors_are_those_of_a_cache_of_all_to_the_bit(name):
    alone, of_all = cache_of(name), cache_of(name, "cache")
    assert np.array_equal(vectors(alone), vectors(of_all))
    assert alone.stat().st_size < of_all.stat().st_size / 2
    notes = [FeatureFile(path).header.notes for path in (alone, of_all)]
    for entry in ("texts_cut", "tokens_cut"):
        assert notes[0].get(entry) == notes[1].get(entry)
    assert notes[0]["deviation_from_float32"]["posts"] == 16


@pytest.mark.usefixtures("pooled")
def test_what_is_kept_is_shown(mvsa):
    shown = mvsa("cache", "info", "tiny-image", "--cache", "pooled").stdout
    assert "pooled" in shown
    record = json.loads(mvsa("cache", "info", "tiny-image", "--cache", "pooled", "--json").stdout)
    assert (record["keep"], record["fingerprint"]["layers"]) == ("pooled", "none")
    whole = json.loads(mvsa("cache", "info", "tiny-image", "--json").stdout)
    assert (whole["keep"], whole["fingerprint"]["layers"]) == ("all", "last")
    assert "keep" not in whole["fingerprint"]  # caches of earlier versions keep their names


@pytest.mark.usefixtures("pooled")
def test_a_head_over_tokens_is_refused_with_the_command_that_helps(refused, mvsa):
    said = refused(*FIT, "cmac", "--cache", "pooled", keeps=False)
    assert "Head 'cmac' reads hidden states of the text" in said
    assert "those of tiny-text were not kept" in said
    assert "--backbone tiny-text --keep all" in said
    command = said.partition("Next: mvsa ")[2].rstrip(".").split()
    assert mvsa(*command, "--cache", "pooled", "--partner", "none").exit_code == 0
    said = refused(*FIT, "cmac", "--cache", "pooled", keeps=False)
    assert "those of tiny-image were not kept" in said


@pytest.mark.usefixtures("pooled")
@pytest.mark.parametrize("head", ["native-cat", "logistic"])
def test_a_head_over_vectors_gets_the_same_scores(mvsa, head):
    scores = []
    for folder in ("cache", "pooled"):
        result = mvsa(*FIT, head, "--cache", folder, "--name", f"{head}-{folder}", "--json")
        assert result.exit_code == 0, result.output
        scores.append(json.loads(result.stdout)["scores"])
    assert scores[0] == scores[1]


@pytest.mark.usefixtures("pooled")
def test_runs_are_asked_over_either_cache(mvsa):
    """Of a head over pooled vectors, whatever its own cache keeps; and with no cache at all."""
    answers, scores = [], []
    picture = next(Path("data/data").glob("*.jpg"))
    for own in ("cache", "pooled"):
        assert mvsa(*FIT, "native-cat", "--cache", own, "--name", own).exit_code == 0
        for folder in ("cache", "pooled"):
            before = {path.name for path in Path(folder).rglob("*.h5")}
            result = mvsa("evaluate", f"runs/{own}", "--cache", folder, "--json")
            assert result.exit_code == 0, result.output
            assert {path.name for path in Path(folder).rglob("*.h5")} == before
            scores.append(json.loads(result.stdout)["scores"])
        words = ("--text", "so", "--image", picture, "--json")
        answers.append(mvsa("predict", f"runs/{own}", *words).stdout)
    assert scores == scores[:1] * 4
    assert answers[0] == answers[1]
    assert json.loads(answers[0])["predictions"]


@pytest.mark.usefixtures("pooled")
def test_a_run_over_pooled_vectors_extracts_no_more_than_these(mvsa):
    assert mvsa(*FIT, "native-cat", "--cache", "pooled", "--name", "p").exit_code == 0
    result = mvsa("evaluate", "runs/p", "--cache", "new")
    assert result.exit_code == 0, result.output
    assert cache_of("tiny-text", "new").name == cache_of("tiny-text").name


@pytest.mark.usefixtures("pooled")
def test_a_run_over_tokens_is_not_answered_from_vectors(mvsa):
    assert mvsa(*FIT, "cmac", "--name", "tokens").exit_code == 0
    shutil.copytree("pooled", "both")
    result = mvsa("evaluate", "runs/tokens", "--cache", "both", "--json")
    assert result.exit_code == 0, result.output
    names = {path.name for path in Path("both").rglob("*.h5")}
    assert names == {path.name for f in ("cache", "pooled") for path in Path(f).rglob("*.h5")}


@pytest.mark.usefixtures("pooled")
def test_exported_and_tuned_from(mvsa):
    assert mvsa(*FIT, "native-cat", "--cache", "pooled", "--name", "p").exit_code == 0
    result = mvsa("export", "runs/p", "--output", "out", "--no-onnx")
    assert result.exit_code == 0, result.output
    from mvsa_pipe.export import load_exported

    picture = next(Path("data/data").glob("*.jpg"))
    told = json.loads(
        mvsa("predict", "runs/p", "--text", "so", "--image", picture, "--json").stdout
    )
    model = load_exported(Path("out"))
    assert model.predict(["so"], [picture]) == [told["predictions"][0]["prediction"]]
    words = ("finetune", "--from", "runs/p", "--epochs", "1", "--cache", "pooled")
    result = mvsa(*words, "--unfreeze", "none", "--name", "tuned")
    assert result.exit_code == 0, result.output
    result = mvsa("extract", "--from", "runs/p", "--keep", "pooled", "--cache", "pooled", "--json")
    assert [each["extracted"] for each in json.loads(result.stdout)] == [0, 0]


@pytest.mark.usefixtures("workplace")
def test_vectors_are_copied_where_hidden_states_are_cached_too(mvsa):
    result = mvsa(*EXTRACT, "--keep", "pooled", "--json")
    assert result.exit_code == 0, result.output
    for record in json.loads(result.stdout):
        assert (record["extracted"], record["reused"]) == (0, 100)
    assert "pooled vectors of 100 posts are copied from" in result.stderr
    paths = list(Path("cache").rglob("*.h5"))
    assert len(paths) == 4
    for name in ("tiny-text", "tiny-image"):
        one, other = (vectors(path) for path in paths if path.name.startswith(name))
        assert np.array_equal(one, other)
    again = json.loads(mvsa(*EXTRACT, "--keep", "pooled", "--json").stdout)
    assert [record["extracted"] for record in again] == [0, 0]


@pytest.mark.usefixtures("workplace")
def test_what_cannot_be_copied_is_computed(mvsa):
    (path,) = Path("cache").glob("*/tiny-text-*.h5")
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        data[file["pooled"].id.get_offset()] ^= 0xFF
    path.write_bytes(data)
    result = mvsa(*ONE, "--keep", "pooled", "--json")
    assert result.exit_code == 0, result.output
    assert "no pooled vectors are copied from" in result.stderr
    assert json.loads(result.stdout)[0]["extracted"] == 100
    made = Path(json.loads(result.stdout)[0]["cache"])
    assert FeatureFile(made).damaged_posts() == []


@pytest.mark.usefixtures("workplace")
def test_an_interrupted_extraction_and_shards_end_equal(mvsa, monkeypatch):
    monkeypatch.setattr(batches, "MOST_POSTS_A_PART", 16)
    whole = ("--keep", "pooled", "--cache", "whole")
    assert mvsa(*EXTRACT, *whole).exit_code == 0
    from mvsa_pipe.cache.writer import CacheWriter

    honest, calls = CacheWriter.commit, []

    def commit(self, *blocks, **named):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(blocks)
        return honest(self, *blocks, **named)

    one = ("extract", "--backbone", "tiny-image", "--partner", "none", "--keep", "pooled")
    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "commit", commit)
        assert mvsa(*one, "--cache", "cut").exit_code == 130
    result = json.loads(mvsa(*one, "--cache", "cut", "--json").stdout)
    assert result[0]["extracted"] == 100 - 3 * 16
    for share in ("1/2", "2/2"):
        assert mvsa(*one, "--cache", "shards", "--shard", share).exit_code == 0
    result = mvsa("cache", "merge", "tiny-image", "--cache", "shards", "--data", "data")
    assert result.exit_code == 0, result.output
    wanted = vectors(cache_of("tiny-image", "whole"))
    for folder in ("cut", "shards"):
        assert np.array_equal(vectors(cache_of("tiny-image", folder)), wanted)


@pytest.mark.usefixtures("pooled")
@pytest.mark.parametrize("join_gib", ["64", "0"])
def test_damaged_vectors_are_found_and_extracted_again(mvsa, join_gib):
    words = (*EXTRACT, "--keep", "pooled", "--cache", "own", "--join-gib", join_gib)
    assert mvsa(*words).exit_code == 0
    path = cache_of("tiny-image", "own")
    wanted = vectors(path)
    hit = path if join_gib == "64" else next(path.with_suffix(".parts").glob("part-*.h5"))
    data = bytearray(hit.read_bytes())
    with h5py.File(hit) as file:
        data[file["pooled"].id.get_offset() + 3] ^= 0xFF
    hit.write_bytes(data)
    result = mvsa("cache", "verify", "--cache", "own")
    assert result.exit_code == 1
    result = mvsa("cache", "repair", str(path), "--cache", "own")
    assert result.exit_code == 0, result.output
    assert mvsa("cache", "verify", "--cache", "own").exit_code == 0
    assert np.array_equal(vectors(path), wanted)
    assert FeatureFile(path).header.fingerprint.layers == "none"


@pytest.mark.usefixtures("pooled")
def test_an_unreadable_cache_of_vectors_is_made_anew(mvsa):
    path = cache_of("tiny-image")
    wanted = vectors(path)
    path.write_bytes(path.read_bytes()[:500])
    result = mvsa("cache", "repair", str(path), "--cache", "pooled")
    assert result.exit_code == 0, result.output
    assert np.array_equal(vectors(path), wanted)


@pytest.mark.usefixtures("workplace")
def test_layers_and_mixes_of_what_is_not_kept_are_refused(refused, mvsa):
    said = refused(*ONE, "--keep", "pooled", "--layers", "last4")
    assert "--keep pooled keeps no hidden states" in said
    assert "--keep all" in said
    assert mvsa(*EXTRACT, "--keep", "pooled", "--cache", "own").exit_code == 0
    said = refused(*FIT, "native-cat", "--layer-mix", "mean", "--cache", "own", keeps=False)
    assert "with pooled vectors alone" in said


@pytest.mark.usefixtures("pooled")
def test_a_bench_leaves_heads_over_tokens_out_unless_they_are_named(mvsa, refused):
    words = ("bench", "--seeds", "1", "--epochs", "1", "--cache", "pooled")
    said = refused(*words, "--head", "basic", "--head", "cmac", "--head", "hstec", keeps=False)
    assert "Head 'cmac' and 'hstec' reads" not in said
    assert "Heads 'cmac' and 'hstec' read hidden states of the text" in said
    assert not list(Path("runs").iterdir())
    result = mvsa(*words, "--json")
    assert result.exit_code == 0, result.output
    left_out = " ".join(result.stderr.split())
    assert "left out: Heads 'cmac', " in left_out
    assert "--keep all" in left_out
    heads = {run["head"] for run in json.loads(result.stdout)["runs"]}
    assert {"native-cat", "basic", "logistic"} <= heads
    assert not {"cmac", "hstec", "co-attention"} & heads


@pytest.mark.usefixtures("pooled")
def test_a_bench_of_several_pairs_trains_what_all_of_them_keep(mvsa, refused):
    for path in Path("pooled").rglob("tiny-image-*.h5"):
        shutil.copy(path, Path("cache") / path.relative_to("pooled"))
    digits = [cache_of("tiny-image", f).stem.split("-")[-2] for f in ("pooled",)]
    (of_all,) = (p for p in Path("cache").rglob("tiny-image-*.h5") if digits[0] not in p.name)
    pair = f"@{of_all.stem.split('-')[-2]},@{digits[0]}"
    words = ("bench", "--seeds", "1", "--epochs", "1", "--image", pair)
    said = refused(*words, "--head", "cmac", keeps=False)
    assert "Head 'cmac' reads hidden states of the image" in said
    result = mvsa(*words, "--json")
    assert result.exit_code == 0, result.output
    heads = {run["head"] for run in json.loads(result.stdout)["runs"]}
    assert "native-cat" in heads
    assert "cmac" not in heads


@pytest.mark.usefixtures("pooled")
def test_what_is_kept_of_each_modality_may_differ(mvsa, refused):
    """A head over text tokens alone needs no image tokens."""
    for path in Path("pooled").rglob("tiny-image-*.h5"):
        target = Path("mixed") / path.relative_to("pooled")
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    for path in Path("cache").rglob("tiny-text-*.h5"):
        shutil.copy(path, Path("mixed") / path.relative_to("cache"))
    assert mvsa(*FIT, "basic", "--cache", "mixed", "--name", "mixed").exit_code == 0
    said = refused(*FIT, "co-attention", "--cache", "mixed", keeps=False)
    assert "hidden states of the image" in said
