"""How pictures are decoded, from outside: the same features in each way, and one fingerprint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from cli_support import paragraph, remade, spawn

from mvsa_pipe.backbones import decoding
from mvsa_pipe.cache.reading import FeatureFile

FAST = "simplejpeg, and only the crop resized, as Pillow does, by numba"
EXTRACT = ("extract", "--backbone", "tiny-image", "--partner", "none")


def cache_of(folder="cache"):
    (path,) = Path(folder).glob("*/tiny-image-*.h5")
    return path


@pytest.fixture
def many(monkeypatch):
    """A hundred posts are enough for fast decoding, which is not tested yet."""
    monkeypatch.setattr(decoding, "FEWEST_FAST", 100)
    decoding.self_test.cache_clear()
    yield
    decoding.self_test.cache_clear()


@pytest.mark.usefixtures("workplace", "many")
def test_every_way_makes_the_very_cache_and_continues_the_others(mvsa):
    made = {}
    for how in ("exact", "fast", "auto"):
        result = mvsa(*EXTRACT, "--decode", how, "--cache", how)
        assert result.exit_code == 0, result.output
        assert f"{'exact' if how == 'exact' else 'fast'} decoding" in result.stderr
        made[how] = cache_of(how)
        again = mvsa(*EXTRACT, "--decode", "fast", "--cache", how, "--json")
        assert json.loads(again.stdout)[0]["extracted"] == 0
    assert len({path.name for path in made.values()}) == 1
    for key in ("pooled", "hidden"):
        arrays = [h5py.File(path)[key][:] for path in made.values()]
        np.testing.assert_array_equal(arrays[0], arrays[1])
        np.testing.assert_array_equal(arrays[0], arrays[2])


@pytest.mark.usefixtures("workplace", "many")
def test_a_cache_goes_on_in_another_way(mvsa):
    assert mvsa(*EXTRACT, "--decode", "exact", "--cache", "own").exit_code == 0
    for picture in sorted(Path("data/data").glob("*.jpg"))[:5]:
        picture.write_bytes(Path("data/data/50.jpg").read_bytes())
    before = cache_of("own")
    result = mvsa(*EXTRACT, "--decode", "fast", "--cache", "own", "--json")
    assert json.loads(result.stdout)[0]["extracted"] == 5
    assert cache_of("own") == before


@pytest.mark.usefixtures("workplace", "many")
def test_a_self_test_that_fails_is_said_once_and_exact_decoding_taken(mvsa, refused, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr(decoding, "_difference", lambda _: "they differ in a JPEG")
    paths = {}
    for how in ("auto", "exact"):
        result = mvsa(*EXTRACT, "--decode", how, "--cache", how)
        assert result.exit_code == 0, result.output
        said = "pictures are decoded exactly, not fast"
        assert result.stderr.count(said) == (how == "auto")
        paths[how] = cache_of(how)
    assert np.array_equal(*(h5py.File(path)["hidden"][:] for path in paths.values()))
    said = refused(*EXTRACT, "--decode", "fast", "--cache", "third", keeps=False)
    assert "--decode fast cannot be used here" in said
    assert "differ in a JPEG" in said
    assert "--decode exact" in said


def test_fast_decoding_without_a_compiler_is_refused_in_a_process_of_its_own(workplace):
    """numba is there, but told not to compile."""
    words = [*EXTRACT, "--decode", "fast", "--cache", "other"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_DISABLE_JIT", "1")
        process = spawn(*words, cwd=workplace)
        _, said = process.communicate(timeout=300)
    assert "NUMBA_DISABLE_JIT is set" in paragraph(process.returncode, said)


def test_few_pictures_load_no_numba(workplace):
    script = (
        "import sys\n"
        "from mvsa_pipe.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('numba' in sys.modules, 'PIL' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *EXTRACT, "--cache", "other"],
        cwd=workplace,
        env={**os.environ, "MVSA_DEBUG": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "exact decoding" in done.stderr
    assert done.stdout.splitlines()[-1] == "False True"


@pytest.fixture
def earlier(workplace, mvsa):  # noqa: ARG001  # the working directory
    """A cache that fast decoding made when it had a fingerprint of its own, and a run over it."""
    cache = remade(cache_of(), "fast", FAST)
    result = mvsa("fit", "--head", "native-cat", "--epochs", "1", "--name", "seen")
    assert result.exit_code == 0, result.output
    return cache


def test_a_cache_of_fast_decoding_as_it_was_is_read_and_not_added_to(earlier, mvsa, refused):
    digest = FeatureFile(earlier).header.fingerprint.digest
    assert digest[:8] in mvsa("cache", "list").stdout
    assert mvsa("cache", "verify").exit_code == 0
    assert mvsa("evaluate", "runs/seen").exit_code == 0
    data = bytearray(earlier.read_bytes())
    with h5py.File(earlier) as file:
        data[file["pooled"].id.get_offset()] ^= 0xFF
    earlier.write_bytes(data)
    said = refused("cache", "repair", earlier, keeps=False)
    assert "made by --decode fast of an earlier version" in said
    assert "mvsa extract --backbone tiny-image" in said
    assert earlier.read_bytes() == data


def test_a_run_over_it_answers_as_before(earlier, mvsa):
    """The pixels are the same, so that its backbone is the one of today."""
    picture = next(Path("data/data").glob("*.jpg"))
    words = ("predict", "runs/seen", "--text", "so", "--image", picture, "--json")
    answers = [mvsa(*words, "--decode", how) for how in ("auto", "exact", "fast")]
    assert [answer.exit_code for answer in answers] == [0, 0, 0], answers[0].output
    assert len({answer.stdout for answer in answers}) == 1
    own = json.loads(mvsa("evaluate", "runs/seen", "--json").stdout)
    earlier.unlink()
    remade_here = mvsa("evaluate", "runs/seen", "--json")
    assert remade_here.exit_code == 0, remade_here.output
    assert json.loads(remade_here.stdout)["scores"] == own["scores"]
    assert cache_of() != earlier
    result = mvsa("export", "runs/seen", "--output", "out", "--no-onnx")
    assert result.exit_code == 0, result.output
    config = json.loads(Path("out/config.json").read_text())
    config["backbones"]["image"] |= {"decode": "fast"}  # as it was exported then
    config["backbones"]["image"]["preprocessing"]["decoder"] = FAST
    Path("out/config.json").write_text(json.dumps(config))
    from mvsa_pipe.export import load_exported

    wanted = json.loads(answers[0].stdout)["predictions"][0]["prediction"]
    assert load_exported("out").predict(texts=["so"], images=[picture]) == [wanted]


@pytest.mark.usefixtures("workplace", "many")
@pytest.mark.parametrize("how", ["fast", "auto"])
def test_fine_tuning_sees_the_same_pictures(how, mvsa):
    words = ("finetune", "--head", "image", "--epochs", "1", "--unfreeze", "none")
    runs = {}
    for each in ("exact", how):
        result = mvsa(*words, "--decode", each, "--name", each, "--json")
        assert result.exit_code == 0, result.output
        runs[each] = json.loads(Path(f"runs/{each}/metrics.json").read_text())["scores"]
    assert runs["exact"] == runs[how]
