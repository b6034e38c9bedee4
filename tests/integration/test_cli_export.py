"""``mvsa export`` from outside: a folder that predicts as the run does, or one clear paragraph."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.base import weights_digest
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import ConfigError, DataError, RunError
from mvsa_pipe.export import load_exported, onnx_files

pytestmark = pytest.mark.usefixtures("place")

_IN_A_PROCESS_OF_ITS_OWN = """
import json
from pathlib import Path
from mvsa_pipe.export import load_exported
model = load_exported("moved", device="cpu")
posts = json.loads(Path("posts.json").read_text())
texts, images = [post[0] for post in posts], [post[1] for post in posts]
print(json.dumps([model.predict(texts, images), model.predict_proba(texts, images).tolist()]))
"""


def export(mvsa, *more, run="both", onnx=False):
    words = ["export", f"runs/{run}", "--output", "out", *([] if onnx else ["--no-onnx"])]
    result = mvsa(*words, *more)
    assert result.exit_code == 0, result.output
    return result


def answers(mvsa, run="both"):
    """What ``mvsa predict`` says of all posts: ids, classes and probabilities."""
    assert mvsa("predict", f"runs/{run}", "--data", "data", "--output", "out.csv").exit_code == 0
    with Path("out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shares = [[float(v) for k, v in row.items() if k.startswith("p_")] for row in rows]
    return [row["post_id"] for row in rows], [row["prediction"] for row in rows], np.array(shares)


def posts_of(ids):
    texts = [Path(f"data/data/{i}.txt").read_text(encoding="utf-8").strip() for i in ids]
    return texts, [f"data/data/{i}.jpg" for i in ids]


def test_an_export_alone_predicts_as_the_run_does(mvsa):
    export(mvsa)
    ids, classes, shares = answers(mvsa)
    texts, images = posts_of(ids)
    Path("posts.json").write_text(json.dumps(list(zip(texts, images, strict=True))))
    Path("out").rename("moved")
    for gone in ("runs", "cache"):
        shutil.rmtree(gone)
    command = [sys.executable, "-c", _IN_A_PROCESS_OF_ITS_OWN]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found[0] == classes
    assert np.abs(np.array(found[1]) - shares).max() < 1e-6  # as many digits as the table has


def test_the_whole_folder_with_onnx(mvsa):
    """Of a head that reads tokens and averages those of pictures, which asks most of a graph."""
    import onnxruntime

    words = ["fit", "--head", "cmac", "--image-grid", "1", "--epochs", "1", "--name", "grid"]
    assert mvsa(*words).exit_code == 0
    result = export(mvsa, "--json", run="grid", onnx=True)
    record = json.loads(result.stdout)
    assert {"README.md", "config.json", "head.safetensors", "head.onnx", "model.onnx"} | {
        "text/model.safetensors",
        "image/model.safetensors",
    } == record["files"].keys()
    assert [file["fault"] for file in record["onnx"]] == ["", ""]
    assert all(file["largest_difference"] <= 1e-4 for file in record["onnx"])
    model = load_exported("out")
    texts, images = posts_of(["1", "2", "3"])
    expected = model.predict_proba(texts, images)
    text, image = (part.backbone for part in model.parts.values())
    ids = [row.tolist() for row in text.tokenize(texts)]
    longest = max(map(len, ids))
    session = onnxruntime.InferenceSession("out/model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(
        ["probabilities"],
        {
            "input_ids": np.array([row + [0] * (longest - len(row)) for row in ids]),
            "attention_mask": np.array([[k < len(r) for k in range(longest)] for r in ids], int),
            "pixels": np.stack([image.prepare(_opened(path)) for path in images]),
        },
    )
    assert np.abs(found - expected).max() < 2e-3  # the cache's rounding is not in the file
    card = Path("out/README.md").read_text(encoding="utf-8")
    metrics = json.loads(Path("runs/grid/metrics.json").read_text())
    for words in (
        "load_exported",
        metrics["protocol"],
        f"{100 * metrics['scores']['test']['values']['accuracy']:.1f} % [",
        "majority on test",
        "chance on test",
        "`tiny-text`, `tiny-image`",
        "their own licences",
        "`input_ids` int64 [batch, tokens]",
    ):
        assert words in card
    assert str(Path.cwd()) not in card + Path("out/config.json").read_text()
    assert Path("out/head.safetensors").stat().st_mode & 0o777 == 0o644


def _opened(path):
    from mvsa_pipe.images import decode_image

    return decode_image(Path(path).read_bytes(), path)


def test_a_head_that_reads_one_half_asks_for_no_other(mvsa):
    export(mvsa, run="text")
    assert not Path("out/image").exists()
    model = load_exported("out")
    ids, classes, shares = answers(mvsa, "text")
    texts, _ = posts_of(ids)
    assert model.predict(texts=texts) == classes
    assert np.abs(model.predict_proba(texts) - shares).max() < 1e-6
    assert model.predict_proba(texts=[]).shape == (0, 3)


@pytest.mark.parametrize("head", ["logistic", "boosting", "cmac"])
def test_heads_that_are_solved_and_heads_that_read_a_grid(mvsa, head):
    words = ["fit", "--head", head, "--image-grid", "1", "--epochs", "1", "--name", head]
    assert mvsa(*words).exit_code == 0
    export(mvsa, run=head)
    ids, _, shares = answers(mvsa, head)
    found = load_exported("out").predict_proba(*posts_of(ids))
    assert np.abs(found - shares).max() < 1e-6


def test_a_head_that_counts_words_is_exported_without_graphs(mvsa):
    words = ["fit", "--head", "logistic", "--set", "terms=300", "--name", "words"]
    assert mvsa(*words).exit_code == 0
    result = export(mvsa, "--json", run="words", onnx=True)
    (file,) = json.loads(result.stdout)["onnx"]
    assert file["fault"] == "no ONNX graph is written for baselines of scikit-learn"
    assert not list(Path("out").glob("*.onnx"))
    ids, _, shares = answers(mvsa, "words")
    found = load_exported("out").predict_proba(*posts_of(ids))
    assert np.abs(found - shares).max() < 1e-6


def test_an_ensemble_is_exported_with_all_its_members(mvsa):
    words = ["fit", "--head", "native-cat", "--epochs", "1", "--seeds", "2", "--ensemble"]
    assert mvsa(*words, "--name", "pair").exit_code == 0
    export(mvsa, run="pair")
    ids, _, shares = answers(mvsa, "pair")
    assert np.abs(load_exported("out").predict_proba(*posts_of(ids)) - shares).max() < 1e-6
    assert "an ensemble of seeds 0, 1" in Path("out/README.md").read_text()


def test_runs_of_several_backbones_are_refused(refused):
    path = Path("runs/both/config.json")
    config = json.loads(path.read_text())
    caches = config["caches"]
    caches["image"] = [caches["image"], caches["image"]]
    path.write_text(json.dumps(config))
    said = refused("export", "runs/both", "--output", "out", "--no-onnx")
    assert "Only runs of one image backbone can be exported" in said


def test_runs_over_several_layers_are_refused(refused):
    path = Path("runs/both/config.json")
    config = json.loads(path.read_text())
    text = config["caches"]["text"]
    text["fingerprint"] = json.dumps(json.loads(text["fingerprint"]) | {"layers": "last4"})
    path.write_text(json.dumps(config))
    said = refused("export", "runs/both", "--output", "out", "--no-onnx")
    assert "Only runs over the last layer of a backbone can be exported" in said


def test_fine_tuned_weights_lie_over_those_of_the_backbone(mvsa):
    backbone = load_backbone(BackboneOptions("tiny-text"))
    state = {k: v.clone() for k, v in backbone.module.state_dict().items()}
    for name, values in state.items():
        if values.is_floating_point():
            values += 0.05 * torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
        state[name] = values
    backbone.module.load_state_dict(state)
    config = json.loads(Path("runs/both/config.json").read_text())
    text = config["caches"]["text"]
    decided = json.loads(text["fingerprint"]) | {"weights": weights_digest(backbone.module)}
    text["fingerprint"] = json.dumps(decided)
    plain, tuned = Path("runs/both"), Path("runs/tuned")
    shutil.copytree(plain, tuned)
    (tuned / "config.json").write_text(json.dumps(config | {"finetune": {"trained": ["text"]}}))
    save_file(state, tuned / "text.safetensors")
    export(mvsa, run="tuned")
    written = load_file("out/text/model.safetensors")
    assert all(torch.equal(written[name], values) for name, values in state.items())
    assert "fine-tuned" in Path("out/README.md").read_text()
    texts, images = posts_of(["1", "2"])
    found = load_exported("out").predict_proba(texts, images)
    Path("out").rename("tuned-out")
    export(mvsa)
    assert not np.allclose(found, load_exported("out").predict_proba(texts, images), atol=1e-4)


def test_what_cannot_be_onnx_is_said_and_the_rest_is_written(mvsa, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise RuntimeError("no such operator\nand more of it")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    result = export(mvsa, onnx=True)
    assert "model.onnx could not be written: RuntimeError: no such operator" in result.stderr
    assert "and more of it" not in result.output
    assert not list(Path("out").glob("*.onnx"))
    assert "could not be written" in Path("out/README.md").read_text()
    assert load_exported("out").predict(*posts_of(["1"]))


def test_onnx_that_computes_something_else_leaves_nothing(refused, monkeypatch):
    monkeypatch.setattr(onnx_files, "_convert", lambda *_: None)
    monkeypatch.setattr(onnx_files, "_session", lambda *_: None)
    monkeypatch.setattr(onnx_files, "_difference", lambda *_: float("nan"))
    said = refused("export", "runs/both", "--output", "out")
    assert "head.onnx computes something else than torch" in said
    assert not [path for path in Path().iterdir() if "out" in path.name]


def test_a_full_disk_leaves_nothing(refused, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mvsa_pipe.export.backbone.save_file", full)
    said = refused("export", "runs/both", "--output", "out", "--no-onnx")
    assert "disk is full" in said
    assert not [path for path in Path().iterdir() if "out" in path.name]


def test_bad_input_is_refused(refused):
    words = ["--output", "out", "--no-onnx"]
    assert "There is no run here (runs/none)" in refused("export", "runs/none", *words)
    assert "The target of the export already exists" in refused(
        "export", "runs/both", "--output", "data", "--no-onnx"
    )
    path = Path("runs/both/config.json")
    text = path.read_text()
    path.write_text(text.replace('\\"weights\\": \\"', '\\"weights\\": \\"00'))
    assert "has changed since this run's features were extracted" in refused(
        "export", "runs/both", *words
    )
    path.write_text(text)
    Path("runs/both/head.safetensors").unlink()
    assert "This run has no checkpoint" in refused("export", "runs/both", *words)


def hide(monkeypatch, *packages):
    """Makes packages look as if they were not installed: they are neither found nor imported."""
    for name in list(sys.modules):
        if name.partition(".")[0] in packages:
            monkeypatch.delitem(sys.modules, name)
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)


def test_without_its_packages_onnx_is_left_out_and_said_in_one_line(mvsa, monkeypatch):
    hide(monkeypatch, "onnx", "onnxruntime", "onnxscript")
    result = export(mvsa, "--json", onnx=True)
    (said,) = (line for line in result.stderr.splitlines() if "onnx" in line)
    assert said == (
        "head.onnx and model.onnx could not be written: ONNX needs the packages onnx, onnxruntime "
        'and onnxscript; next: pip install "mvsa-pipe[onnx]"'
    )
    (file,) = json.loads(result.stdout)["onnx"]
    assert file["fault"] in said
    assert not list(Path("out").glob("*.onnx"))
    card = Path("out/README.md").read_text()
    assert "could not be written: ONNX needs the packages" in card
    assert "Outputs are" not in card
    assert load_exported("out").predict(*posts_of(["1"]))


def test_onnx_that_was_asked_for_needs_its_packages(refused, monkeypatch):
    hide(monkeypatch, "onnxruntime")
    said = refused("export", "runs/both", "--output", "out", "--onnx")
    assert 'needs the package onnxruntime. Next: pip install "mvsa-pipe[onnx]"' in said
    assert not Path("out").exists()


def test_onnx_that_was_refused_needs_no_packages(mvsa, monkeypatch):
    hide(monkeypatch, "onnx", "onnxruntime", "onnxscript")
    assert "onnx" not in export(mvsa).output


def test_onnx_that_was_asked_for_and_cannot_be_written_is_a_failure(mvsa):
    assert mvsa("fit", "--head", "logistic", "--name", "solved").exit_code == 0
    result = mvsa("export", "runs/solved", "--output", "out", "--onnx")
    assert result.exit_code == 1
    assert "no ONNX graph is written for baselines" in result.stderr
    assert load_exported("out").predict(*posts_of(["1"]))


def test_wrong_posts_are_refused(mvsa):
    export(mvsa)
    model = load_exported("out")
    picture = Path("data/data/1.jpg").read_bytes()
    assert model.predict(["a"], [picture]) == model.predict(["a"], ["data/data/1.jpg"])
    for wrong in ({"texts": ["a"]}, {}, {"texts": ["a", "b"], "images": [picture]}):
        with pytest.raises(ConfigError, match=r"texts=.* and images="):
            model.predict(**wrong)
    with pytest.raises(ConfigError, match="lists of one length"):
        model.predict("a", ["data/data/1.jpg"])
    with pytest.raises(DataError, match=r"1 of these pictures .*images\[1\]: There is no such"):
        model.predict(["a", "b"], [picture, "none.jpg"])


_DAMAGES = [
    (lambda at: shutil.rmtree(at / "text"), "text backbone of this exported folder cannot be"),
    (lambda at: (at / "head.safetensors").unlink(), "exported folder is damaged"),
    (lambda at: (at / "head.safetensors").write_bytes(b"{}"), "checkpoint is damaged.*mvsa export"),
    (lambda at: (at / "config.json").write_text("{}"), "no exported model, or one of another"),
    (lambda at: (at / "config.json").write_text("[]"), "There is no exported model here"),
    (shutil.rmtree, "There is no exported model here"),
]


def test_damaged_folders_are_refused(mvsa):
    export(mvsa, run="text")
    for number, (damage, words) in enumerate(_DAMAGES):
        folder = shutil.copytree("out", Path(f"damaged-{number}"))
        damage(folder)
        with pytest.raises(RunError, match=words):
            load_exported(folder)
