"""Wrong names, options, caches and runs; disks that refuse; Ctrl-C. Nothing is lost."""

import errno
import json
import os
import re
import resource
import shutil
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from cli_support import files_below, paragraph, spawn

from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic

FIT = ("fit", "--head", "native-cat", "--epochs", "1")
EXTRACT = ("extract", "--partner", "none", "--backbone")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit", "--head", "dual_attention"], "did you mean dual-attention"),
        (["bench", "--head", "nativ-cat"], "did you mean native-cat"),
        ([*EXTRACT, "dinov"], "did you mean dinov3 or dinov2"),
        (["extract", "--backbone", "tiny-image", "--partner", "tiny-txt"], "did you mean tiny-t"),
        ([*FIT, "--text", "berd"], "Expected berd. Found tiny-text@"),
        ([*EXTRACT, "tiny-image", "--weights", "x=y"], "--weights x=y"),
        ([*EXTRACT, "hf-text"], "needs an argument"),
        ([*FIT, "--device", "gpu"], "one of auto, cpu, cuda, mps"),
        ([*FIT, "--set", "hidden"], "Expected name=value"),
        ([*FIT, "--set", "=3"], "Expected name=value"),
        ([*FIT, "--set", "hiden=3"], "did you mean hidden"),
        ([*FIT, "--set", "hidden=many"], "Option 'hidden' cannot be used"),
        ([*FIT, "--set", "hidden=-3"], "from 1 to 16,384"),
        ([*FIT, "--class-weights", "heavy"], "negative=WEIGHT,neutral=WEIGHT,positive=WEIGHT"),
        ([*FIT, "--class-weights", "negative=1"], "negative=WEIGHT"),
        ([*FIT, "--class-weights", "negative=1e308,neutral=1,positive=1"], "each weight from"),
        ([*FIT[:3], "--epochs", "-1"], "--epochs cannot be used. Expected a whole number from 1"),
        ([*FIT[:3], "--epochs", "0"], "--epochs cannot be used"),
        ([*FIT[:3], "--epochs", "1" + 30 * "0"], "from 1 to 1,000,000"),
        ([*FIT, "--batch-size", "1" + 30 * "0"], "--batch-size cannot be used"),
        ([*FIT, "--patience", "1" + 30 * "0"], "--patience cannot be used"),
        ([*FIT, "--seed", "-1"], "--seed cannot be used"),
        ([*FIT, "--seed", str(2**70)], "--seed cannot be used"),
        ([*FIT, "--seeds", str(2**70)], "--seeds cannot be used"),
        ([*FIT, "--learning-rate", "inf"], "--learning-rate cannot be used"),
        ([*FIT, "--weight-decay", "nan"], "--weight-decay cannot be used"),
        ([*FIT, "--warmup", "nan"], "--warmup cannot be used"),
        ([*FIT, "--label-smoothing", "1"], "--label-smoothing cannot be used. Expected a number"),
        ([*FIT, "--ema", "1.0"], "--ema cannot be used. Expected a number, at least 0 and less"),
        ([*FIT, "--feature-noise", "-1"], "--feature-noise cannot be used"),
        ([*FIT, "--feature-noise", "inf"], "--feature-noise cannot be used"),
        (["bench", "--vary", "label_smoothing=0,1"], "--label-smoothing cannot be used"),
        (["bench", "--vary", "ema=high"], "ema"),
        (["finetune", *FIT[1:], "--feature-noise", "1"], "over cached features"),
        ([*FIT, "--clip-norm", "inf"], "--clip-norm cannot be used"),
        ([*FIT, "--image-grid", str(2**70)], "--image-grid cannot be used"),
        ([*FIT, "--memory-gib", "nan"], "--memory-gib cannot be used"),
        ([*FIT, "--set", "hidden=1000000000"], "from 1 to 16,384"),
        ([*FIT, "--set", "dropout=nan"], "Option 'dropout' cannot be used"),
        (["bench", "--seeds", str(2**70)], "--seeds cannot be used"),
        (["bench", "--vary", "epochs=0"], "--epochs cannot be used"),
        (["bench", "--vary", "learning_rate=nan"], "Option 'learning_rate' cannot be used"),
        (["finetune", "--head", "text", "--lora-rank", str(2**70)], "--lora-rank cannot be used"),
        (["finetune", "--head", "text", "--micro-batch", "-1"], "--micro-batch cannot be used"),
        (["finetune", "--head", "text", "--layer-decay", "nan"], "--layer-decay cannot be used"),
        (["compare", "runs/both", "runs/text", "--resamples", str(2**70)], "--resamples"),
        (["compare", "runs/both", "runs/text", "--seed", "-1"], "--seed cannot be used"),
        ([*FIT, "--learning-rate", "nan"], "--learning-rate cannot be used"),
        ([*FIT, "--precision", "float8"], "--precision cannot be used"),
        ([*FIT, "--image-grid", "-1"], "--image-grid cannot be used"),
        ([*FIT, "--name", "../evil"], "--name cannot be used"),
        ([*FIT, "--name", ""], "--name cannot be used"),
        ([*FIT, "--name", "both"], "exists already (runs/both)"),
        ([*FIT, "--format", "mvsa"], "did you mean mvsa-"),
        ([*FIT, "--data-name", "../x"], "name cannot be used"),
        ([*FIT, "--task", "humour"], "has no task to choose"),
        ([*EXTRACT, "tiny-image", "--batch-size", "-1"], "--batch-size"),
        ([*EXTRACT, "tiny-image", "--workers", "-1"], "--workers"),
        ([*EXTRACT, "tiny-text", "--max-tokens", "1"], "--max-tokens"),
        ([*EXTRACT, "tiny-image", "--partner", "none", "--prompt", "q: "], "'tiny-image' takes no"),
        ([*EXTRACT, "tiny-image", "--prompt", "q: "], "takes no prompt"),
        ([*EXTRACT, "tiny-text", "--max-tokens", "9" * 30], "3 to 65,536"),
        (["bench", "--seeds", "0"], "--seeds cannot be used. Expected a whole number from 1"),
        ([*FIT, "--seeds", "0"], "--seeds cannot be used. Expected a whole number from 1"),
        ([*FIT, "--ensemble"], "nothing to average. Expected at least two seeds"),
        ([*FIT, "--ensemble", "--seeds", "1"], "nothing to average"),
        (["fit", "--head", "logistic", "--seeds", "3", "--ensemble"], "pointless for head 'logi"),
        (["fit", "--head", "svm", "--seeds", "3", "--ensemble"], "3 copies would be averaged"),
        (["fit", "--head", "svm", "--set", "gamma=0"], "Option 'gamma' cannot be used"),
        (["fit", "--head", "boosting", "--set", "depth=11"], "from 1 to 10"),
        (["fit", "--head", "logistic", "--set", "terms=-1"], "from 0 to 100,000"),
        (["fit", "--head", "svm", "--set", "terms=many"], "Expected a whole number"),
        ([*FIT, "--set", "terms=5"], "has no option 'terms'"),
        (["predict", "runs/both"], "Found neither"),
        (["predict", "runs/both", "--data", "data", "--text", "x"], "Found both"),
        (["predict", "runs/both", "--data", "nowhere"], "nothing at this path (nowhere)"),
        (
            ["predict", "runs/both", "--text", "x", "--image", "no.jpg"],
            "image does not exist (no.jpg)",
        ),
        (["predict", "nowhere", "--text", "x"], "no run here (nowhere)"),
        (["evaluate", "runs"], "runs/both, runs/text"),
        (["evaluate", "runs/both", "--split", "nonsense"], "train, val, test or all"),
        (["cache", "info", "nothing"], "No cache is named 'nothing'"),
        (["cache", "info", "tiny"], "Several caches fit 'tiny'"),
    ],
)
@pytest.mark.usefixtures("place")
def test_what_cannot_be_used_is_named(refused, words, expected):
    assert expected in refused(*words)


@pytest.mark.parametrize(
    "words",
    [
        ["fit"],
        ["frobnicate"],
        ["fit", "--head", "text", "--select", "taste"],
        ["fit", "--head", "text", "--epochs", "many"],
        ["extract", "--backbone", "tiny-text", "--dtype", "float8"],
    ],
)
@pytest.mark.usefixtures("place")
def test_what_no_verb_takes_is_shown_with_its_usage(mvsa, words):
    result = mvsa(*words)
    assert result.exit_code == 2
    assert "Usage: mvsa" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_extraction_needs_a_backbone_or_a_run(refused):
    assert "No backbone was named. Expected either --backbone NAME, or --from RUN" in refused(
        "extract"
    )


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
@pytest.mark.parametrize("words", [FIT, (*EXTRACT, "tiny-text"), ("bench", "--head", "text")])
@pytest.mark.usefixtures("place")
def test_a_gpu_that_is_not_there(refused, words):
    text = refused(*words, "--device", "cuda")
    assert "Device 'cuda' was requested" in text
    assert "--device cpu" in text


def cache_of(modality):
    (path,) = Path("cache").glob(f"*/tiny-{modality}-*.h5")
    return path


def flip(path, name="pooled", row=7):
    with h5py.File(path) as file:
        data = file[name]
        at = data.id.get_offset() + row * data.shape[1] * data.dtype.itemsize
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


@pytest.mark.usefixtures("place")
def test_a_flipped_byte(refused, mvsa):
    path = cache_of("text")
    flip(path)
    text = refused(*FIT)
    with h5py.File(path) as file:
        post_id = file["ids"][7].decode()
    assert str(path) in text
    assert re.search(rf"1 damaged posts: {post_id}\b", text), text
    assert "mvsa cache repair" in text
    verified = mvsa("cache", "verify")
    assert verified.exit_code == 1
    assert f"post {post_id}" in verified.stdout


@pytest.mark.parametrize("keep", [0, 100, 0.3, 0.999])
@pytest.mark.usefixtures("place")
def test_a_cache_that_was_cut(refused, keep):
    path = cache_of("image")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    text = refused(*FIT)
    assert str(path) in text
    assert "mvsa cache remove" in text or "mvsa cache verify" in text


@pytest.mark.usefixtures("place")
def test_a_cache_of_another_layout(refused):
    path = cache_of("text")
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 99
    text = refused(*FIT)
    assert "Expected schema" in text
    assert "Found schema 99" in text
    assert "mvsa cache remove" in text


@pytest.mark.usefixtures("place")
def test_a_cache_of_another_fingerprint(refused, mvsa):
    text = refused(*FIT, "--text", "tiny-text@00000000")
    assert "Expected tiny-text@00000000" in text
    path = cache_of("text")
    config = json.loads(Path("runs/both/config.json").read_text())
    fingerprint = json.loads(config["caches"]["text"]["fingerprint"])
    other = mvsa(*EXTRACT, "tiny-text", "--max-tokens", "5", "--json")
    shutil.copy(json.loads(other.stdout)[0]["cache"], path)
    text = refused("evaluate", "runs/both", keeps=False)  # digests of posts are kept
    assert "preprocessing.max_tokens is 5, requested 128" in text
    assert fingerprint["preprocessing"]["max_tokens"] == 128


@pytest.mark.usefixtures("place")
def test_something_else_that_calls_itself_a_cache(refused):
    cache_of("text").write_text("hello")
    assert "no feature cache" in refused(*FIT)


@pytest.mark.parametrize("name", ["head.safetensors", "config.json", "metrics.json", "split.csv"])
@pytest.mark.usefixtures("place")
def test_a_run_that_lacks_a_file(refused, name):
    (Path("runs/both") / name).unlink()
    text = refused("evaluate", "runs/both")
    assert name in text
    assert "runs/both" in text
    assert "mvsa fit" in text


@pytest.mark.usefixtures("place")
def test_an_output_that_cannot_be_written(refused):
    Path("file").write_text("")
    words = ["predict", "runs/text", "--text", "x", "--output"]
    assert "There is a file where a folder is needed" in refused(*words, "file/out.csv")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.usefixtures("place")
def test_a_disk_that_refuses_runs_is_found_out_before_training(refused, monkeypatch, code):
    def refuse(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    def never(*_):
        raise AssertionError("trained before the disk was asked")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("mvsa_pipe.runs.fit.try_fit_heads", never)
    text = refused(*FIT)
    assert "--runs folder" in text
    assert "(runs)" in text


@pytest.mark.usefixtures("place")
def test_a_cache_folder_that_is_read_only(refused, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    text = refused(*EXTRACT, "tiny-text", "--cache", "new")
    assert "cannot be written to (new" in text
    assert "pass another --cache" in text


def limited():
    """No file may grow over 60 kB: what a full disk looks like, without filling one."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


@pytest.mark.parametrize("words", [(*EXTRACT, "tiny-text", "--cache", "new"), FIT])
def test_a_disk_that_fills_up_leaves_everything_as_it_was(place, words, monkeypatch):
    # Python would keep the bytecode that it could not write completely, for all processes.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    before = files_below(place)
    process = spawn(*words, cwd=place, preexec_fn=limited)
    _, stderr = process.communicate(timeout=120)
    text = paragraph(process.returncode, stderr)
    assert "ulimit -f" in text
    assert "pass another --cache/--runs folder" in text
    after = {name for name in files_below(place) if not memory(name)}
    assert {Path(name).suffix for name in after - set(before)} <= {".lock"}
    assert not [path for path in (place / "runs").iterdir() if path.name not in ("both", "text")]


def memory(name):
    """Whether a file only saves time and says nothing of any post."""
    return "/.resolved/" in name or "/.digests/" in name


def interrupt(process, line):
    """Waits for a line on stderr and presses Ctrl-C a moment later."""
    seen = []
    for text in process.stderr:
        seen.append(text)
        if line in text:
            break
    else:
        raise AssertionError("".join(seen))
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()  # or a test that fails would leave it computing
    # A shell says 130 of both: Python ends by the signal itself where it came while text was being
    # run as code, as when a library makes a data class, even if all went as it should afterwards.
    assert process.returncode in (130, -signal.SIGINT), "".join(seen) + rest
    assert "Traceback" not in rest
    assert "interrupted: " in rest
    return rest


def test_ctrl_c_while_extracting(tmp_path, mvsa, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_synthetic(Path("data"), SyntheticConfig(posts=400, image_px=32))
    process = spawn(*EXTRACT, "tiny-image", "--cache", "cut", cwd=tmp_path)
    interrupt(process, " on cpu")
    assert not list(Path("cut").glob("*/*.h5"))
    for cache in ("cut", "whole"):
        result = mvsa(*EXTRACT, "tiny-image", "--cache", cache)
        assert result.exit_code == 0, result.output
    assert mvsa("cache", "verify", "--cache", "cut").exit_code == 0
    files = [FeatureFile(next(Path(cache).glob("*/*.h5"))) for cache in ("cut", "whole")]
    assert files[0].header.ids == files[1].header.ids
    rows = np.arange(400)
    assert np.array_equal(files[0].pooled(rows), files[1].pooled(rows))


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "--head", "native-cat"),
        ("bench", "--head", "native-cat", "--seeds", "1"),
    ],
)
def test_ctrl_c_while_training(place, mvsa, words):
    before = files_below(place)
    process = spawn(*words, "--epochs", "1000000", "--patience", "0", cwd=place)
    interrupt(process, "80 train, 10 val, 10 test")
    after = {name: data for name, data in files_below(place).items() if not memory(name)}
    assert after == {name: data for name, data in before.items() if not memory(name)}
    assert sorted(path.name for path in Path("runs").iterdir()) == ["both", "text"]
    assert mvsa(*FIT).exit_code == 0


def test_two_fits_of_one_name_at_once(place):
    """Both find the name free and train; the second to end is told, and overwrites nothing."""
    words = ["fit", "--head", "text", "--epochs", "60", "--patience", "0", "--name", "same"]
    processes = [spawn(*words, "--seed", seed, cwd=place) for seed in "01"]
    ends = [process.communicate(timeout=120) for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], ends
    assert "exists already" in paragraph(2, ends[codes.index(2)][1])
    record = json.loads(Path("runs/same/config.json").read_text())
    assert record["training"]["seed"] == codes.index(0)
    assert not list(Path("runs").glob(".same*"))
