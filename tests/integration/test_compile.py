"""Compiled backbones and training steps agree with plain ones, and are kept apart from them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_support import spawn
from safetensors.numpy import load_file
from torch._dynamo.exc import TorchDynamoException
from typer.testing import CliRunner

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cli.app import app
from mvsa_pipe.posts.synthetic import SyntheticConfig, write_synthetic

NAMES = ("tiny-text", "tiny-image")
FIT = ("fit", "--data", "data", "--head", "native-cat", "--split", "random-6:2:2", "--epochs", "3")
EXTRACT = ("extract", "--data", "data", "--precision", "float32", "--dtype", "float32", "--json")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Posts and the caches of both backbones as they are."""
    root = tmp_path_factory.mktemp("compile")
    write_synthetic(root / "data", SyntheticConfig(posts=30, image_px=32))
    plain(root, *EXTRACT, *backbones(*NAMES))
    return root


def backbones(*names):
    return [word for name in names for word in ("--backbone", name)]


def plain(root, *words):
    """What is not compiled runs in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout


def compiled(root, *words):
    process = spawn(*words, "--compile", cwd=root)
    out, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    return out


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_compiled_features_agree_and_lie_beside_the_others(root):
    records = json.loads(compiled(root, *EXTRACT, *backbones(*NAMES)))
    assert [record["precision"] for record in records] == ["float32+compiled"] * 2
    assert [record["extracted"] for record in records] == [30, 30]  # nothing of the others is taken
    assert all(record["profile"]["compiled"] for record in records)
    for name in NAMES:
        files = [entry.file for entry in CacheFolder(root / "cache").entries()]
        both = [file for file in files if file.header.fingerprint.backbone == name]
        one, other = sorted(both, key=lambda file: file.header.fingerprint.compiled)
        differing = one.header.fingerprint.differences(other.header.fingerprint)
        assert differing == {"precision": ("float32", "float32+compiled")}
        rows = np.arange(30)
        np.testing.assert_allclose(one.pooled(rows), other.pooled(rows), atol=2e-5)
        np.testing.assert_allclose(one.hidden(rows)[0], other.hidden(rows)[0], atol=2e-5)
        assert other.header.fingerprint.command.endswith("--compile")
        assert other.header.notes["deviation_from_float32"]["largest"] < 2e-5
    again = json.loads(plain(root, *EXTRACT, *backbones(*NAMES), "--compile"))  # nothing is to do
    assert [record["extracted"] for record in again] == [0, 0]


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_a_compiled_step_trains_the_same_head(root):
    """Of a run of its own, which is a stack of one."""
    plain(root, *FIT, "--name", "plain")
    compiled(root, *FIT, "--name", "compiled")
    runs = [root / "runs" / name for name in ("plain", "compiled")]
    configs = [json.loads((path / "config.json").read_text()) for path in runs]
    assert [config["training"]["compiled"] for config in configs] == [False, True]
    one, other = (load_file(path / "head.safetensors") for path in runs)
    for name, weights in one.items():
        np.testing.assert_allclose(weights, other[name], atol=1e-5)
    # other kernels, other last digits
    assert any((weights != other[name]).any() for name, weights in one.items())


@pytest.mark.usefixtures("place")
def test_a_head_that_stays_uncompiled_is_named(mvsa):
    done = mvsa("fit", "--data", "data", "--head", "logistic", "--compile")
    assert done.exit_code == 0, done.output
    assert "trained uncompiled, as all heads set by a solver" in done.stderr


@pytest.mark.usefixtures("place")
def test_fine_tuning_compiles_nothing(refused):
    text = refused("finetune", "--data", "data", "--head", "native-cat", "--compile")
    assert "--compile is for steps over cached features" in text


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("extract", *backbones("tiny-text"), "--cache", "none"), "This backbone"),
        (("fit", "--head", "native-cat"), "The training step of this head"),
    ],
)
def test_without_a_compiler(refused, monkeypatch, words, told):
    def broken(*_):
        raise TorchDynamoException("no compiler") from OSError("there is no g++")

    monkeypatch.setattr(torch, "compile", lambda _, **_how: broken)
    text = refused(*words, "--data", "data", "--compile", keeps=False)
    assert f"{told} cannot be compiled here" in text
    assert "Found OSError: there is no g++" in text
    assert "leave out --compile" in text
    assert not list(Path("none").rglob("*.h5"))
    assert sorted(path.name for path in Path("runs").iterdir()) == ["both", "text"]
