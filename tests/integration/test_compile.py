"""Compiled training steps agree with plain ones."""

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

from mvsa_pipe.cli.app import app
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic

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
    assert "--compile only supports training over cached features" in text


@pytest.mark.usefixtures("place")
def test_without_a_compiler(refused, monkeypatch):
    def broken(*_):
        raise TorchDynamoException("no compiler") from OSError("there is no g++")

    monkeypatch.setattr(torch, "compile", lambda _, **_how: broken)
    text = refused("fit", "--head", "native-cat", "--data", "data", "--compile", keeps=False)
    assert "The training step of this head cannot be compiled here" in text
    assert "Found OSError: there is no g++" in text
    assert "leave out --compile" in text
    assert sorted(path.name for path in Path("runs").iterdir()) == ["both", "text"]
