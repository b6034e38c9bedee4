"""Folders that bring code along or cannot be true: refused before anything of them is loaded."""

import builtins
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from backbone_support import Bomb, as_hub, load_image, load_text, save_tokenizer, tiny_bert
from huggingface_hub import constants
from safetensors.torch import save_file
from transformers import ResNetConfig, ResNetModel, ViTImageProcessor

from mvsa_pipe.errors import BackboneError

CODE = "from pathlib import Path\nPath({ran!r}).touch()\n"
CLASSES = {
    "AutoConfig": "evil.EvilConfig",
    "AutoModel": "evil.EvilModel",
    "AutoTokenizer": ["evil.EvilTokenizer", None],
    "AutoImageProcessor": "evil.EvilProcessor",
}


@pytest.fixture(autouse=True)
def nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers "yes" to any question, as ``yes |`` would."""
    monkeypatch.setattr(builtins, "input", lambda *_: "y")


@pytest.fixture
def text_folder(bert_folder: Path, tmp_path: Path) -> Path:
    """A text encoder with a module beside it, which leaves the file ``ran`` when it is run."""
    return with_module(Path(shutil.copytree(bert_folder, tmp_path / "text")))


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "image"
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])).save_pretrained(
        folder
    )
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return with_module(folder)


def with_module(folder: Path) -> Path:
    (folder / "evil.py").write_text(CODE.format(ran=str(folder.parent / "ran")))
    return folder


def change(path: Path, **fields: Any) -> None:
    known = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(known | fields))


@pytest.mark.parametrize("own_type", [False, True])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
@pytest.mark.parametrize("family", ["bert", "hf-text:x/y"])
def test_code_of_a_text_encoder(text_folder: Path, file: str, family: str, own_type: bool) -> None:
    change(text_folder / file, auto_map=CLASSES)
    if own_type:
        change(text_folder / "config.json", model_type="evil")
    with pytest.raises(BackboneError, match=r"its own Python code.*never runs"):
        load_text(family, weights=str(text_folder), max_tokens=16)
    assert not (text_folder.parent / "ran").exists()


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_code_of_an_image_encoder(image_folder: Path, file: str) -> None:
    change(image_folder / file, auto_map=CLASSES)
    with pytest.raises(BackboneError, match=r"its own Python code.*never runs"):
        load_image(f"hf-image:{image_folder}")
    assert not (image_folder.parent / "ran").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"text_config": {"auto_map": CLASSES}},
        {"layers": [{"auto_map": CLASSES}]},
        {"custom_pipelines": {"text": {"impl": "evil.Pipeline"}}},
        {"attn_implementation": "someone/kernels"},
        {"_attn_implementation": "someone/kernels:forward"},
    ],
)
def test_other_ways_to_name_code(text_folder: Path, fields: dict[str, Any]) -> None:
    change(text_folder / "config.json", **fields)
    with pytest.raises(BackboneError, match=r"its own (Python )?code"):
        load_text(f"hf-text:{text_folder}", max_tokens=16)


def test_code_of_the_hub_s_models(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(text_folder / "config.json", auto_map=CLASSES, model_type="evil")
    hub = tmp_path / "hub"
    as_hub(text_folder, "some/evil", hub)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    with pytest.raises(BackboneError, match=r"its own (Python )?code"):
        load_text("hf-text:some/evil", max_tokens=16)
    assert not (tmp_path / "ran").exists()


def test_a_module_that_nothing_names_is_not_run(text_folder: Path) -> None:
    load_text(f"hf-text:{text_folder}", max_tokens=16)
    assert not (text_folder.parent / "ran").exists()


def test_an_adapter_is_no_model(text_folder: Path) -> None:
    change(text_folder / "adapter_config.json", base_model_name_or_path="other/place")
    with pytest.raises(BackboneError, match="is an adapter"):
        load_text(f"hf-text:{text_folder}", max_tokens=16)


@pytest.mark.parametrize("place", ["beside", "pth"])
def test_pickled_code_is_neither_run_nor_advised(
    text_folder: Path, tmp_path: Path, place: str
) -> None:
    ran = tmp_path / "ran"
    (text_folder / "model.safetensors").unlink()
    file = text_folder / "pytorch_model.bin" if place == "beside" else tmp_path / "weights.pth"
    torch.save({"a": Bomb(ran)}, file)
    weights = text_folder if place == "beside" else file
    with pytest.raises(BackboneError, match="objects other than tensors") as caught:
        load_text("bert", weights=str(weights), max_tokens=16)
    assert "weights_only" not in caught.value.paragraph()
    assert not ran.exists()


def test_pickled_tensors_are_read(text_folder: Path) -> None:
    (text_folder / "model.safetensors").unlink()
    torch.save(tiny_bert().state_dict(), text_folder / "pytorch_model.bin")
    load_text(f"hf-text:{text_folder}", max_tokens=16)


def test_a_plain_pickle_is_not_unpickled(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(BackboneError, match="cannot be read safely"):
        load_text("bert", weights=str(file), max_tokens=16)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_hidden_layers": 10**9}, "an implausible number"),
        ({"num_labels": 10**9}, "an implausible number"),
        ({"vocab_size": 10**18}, "an implausible number"),
        ({"hidden_size": 10**6, "num_attention_heads": 2}, "does not belong to the weights"),
        ({"vocab_size": 10**9}, "does not belong to the weights"),
        ({"hidden_size": "wide"}, "cannot be loaded"),
        ({"hidden_size": 32.5}, "cannot be loaded"),
        ({"hidden_size": -32}, "cannot be loaded"),
        ({"hidden_size": None}, "cannot be loaded"),
        ({"num_attention_heads": 0}, "cannot be loaded"),
        ({"model_type": ["bert"]}, "cannot be loaded"),
        ({"id2label": 3}, "cannot be loaded"),
        ({"hidden_act": "no-such"}, "cannot be loaded"),
        ({"dtype": "float9000"}, "cannot be loaded"),
    ],
)
@pytest.mark.parametrize("with_state", [False, True])
def test_descriptions_that_cannot_be_true(
    text_folder: Path, fields: dict[str, Any], message: str, with_state: bool
) -> None:
    change(text_folder / "config.json", **fields)
    weights = text_folder / "model.safetensors" if with_state else text_folder
    with pytest.raises(BackboneError, match=message):
        load_text("hf-text:x/y", weights=str(weights), max_tokens=16)


def test_token_ids_that_would_fill_the_memory(text_folder: Path) -> None:
    change(text_folder / "tokenizer_config.json", model_max_length=10**30)
    load_text(f"hf-text:{text_folder}", max_tokens=16)
    path = text_folder / "tokenizer.json"
    rules = json.loads(path.read_text())
    for words in (rules["model"]["vocab"], rules["added_tokens"][0]):
        key = next(k for k, v in words.items() if isinstance(v, int))
        kept, words[key] = words[key], 10**9
        path.write_text(json.dumps(rules))
        with pytest.raises(BackboneError, match="an implausible token id"):
            load_text(f"hf-text:{text_folder}", max_tokens=16)
        words[key] = kept


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"a": ' * 200_000,
        b"[" * 200_000 + b"]" * 200_000,
        b'{"model_type": "bert"}' + b" " * 2**24,
    ],
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_descriptions_that_are_none(text_folder: Path, file: str, content: bytes) -> None:
    (text_folder / file).write_bytes(content)
    with pytest.raises(BackboneError, match=r"cannot be (read|had)"):
        load_text(f"hf-text:{text_folder}", max_tokens=16)


def test_weights_of_another_size_are_still_named(tmp_path: Path) -> None:
    tiny_bert().save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    save_file({"embeddings.word_embeddings.weight": torch.zeros(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(BackboneError, match="another architecture"):
        load_text("bert", weights=str(tmp_path / "x.safetensors"), max_tokens=16)
