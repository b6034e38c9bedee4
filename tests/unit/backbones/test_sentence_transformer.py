"""Embedding models, compared with ``encode`` of sentence-transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from backbone_support import SHARED, encode_text, load_text, save_tokenizer, tiny_bert
from library_cases import TEXTS, alone_and_together, largest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

from mvsa_pipe.backbones import sentence_transformer
from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.errors import BackboneError, ConfigError

sentence_transformers = pytest.importorskip("sentence_transformers")
modules = sentence_transformers.sentence_transformer.modules


def save(folder: Path, transformer: Path, pooling: str, **options: Any) -> Any:
    """Saves a model by the library, as it publishes them; returns the library's model."""
    first = modules.Transformer(str(transformer), max_seq_length=24)
    steps = [first, modules.Pooling(32, pooling, include_prompt=options.get("pooled", True))]
    torch.manual_seed(1)
    steps += [modules.Dense(*sizes) for sizes in options.get("dense", ())]
    steps += [modules.Normalize()] if options.get("normalised", True) else []
    prompts = {"query": "find good: ", "document": ""}
    named = {"prompts": prompts, "default_prompt_name": options.get("prompt")}
    model = sentence_transformers.SentenceTransformer(modules=steps, device="cpu", **named)
    model.save(str(folder), create_model_card=False)
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu")


def as_library(backbone: Any, model: Any, **prompt: str) -> float:
    """The largest difference to the library's vectors, and within batches."""
    wanted = model.encode(list(TEXTS), convert_to_tensor=True, **prompt)
    _, pooled = encode_text(backbone, *TEXTS)
    return max(
        float((pooled - wanted).abs().max()), largest(alone_and_together(backbone, list(TEXTS)))
    )


@pytest.mark.parametrize(
    ("pooling", "options"),
    [
        ("mean", {}),
        ("cls", {"normalised": False}),
        ("lasttoken", {}),
        ("mean", {"prompt": "query"}),
        ("mean", {"prompt": "query", "pooled": False}),
        ("mean", {"dense": [(32, 48), (48, 32)]}),
    ],
    ids=["mean", "cls", "last", "prompt", "prompt-left-out", "dense"],
)
def test_equal_to_the_library(
    bert_folder: Path, tmp_path: Path, pooling: str, options: dict[str, Any]
) -> None:
    model = save(tmp_path / "model", bert_folder, pooling, **options)
    backbone = load_text(f"sentence-transformers:{tmp_path / 'model'}")
    assert backbone.max_tokens == 24  # its max_seq_length
    assert as_library(backbone, model) < 1e-5
    assert backbone.identity.preprocessing["prompt"] == model.prompts.get(options.get("prompt"), "")


@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "left-out"])
@pytest.mark.parametrize("prompt", ["so good: ", ""], ids=["own", "none"])
def test_a_chosen_prompt_replaces_the_default(
    bert_folder: Path, tmp_path: Path, prompt: str, *, pooled: bool
) -> None:
    model = save(tmp_path / "model", bert_folder, "mean", prompt="query", pooled=pooled)
    name = f"sentence-transformers:{tmp_path / 'model'}"
    chosen, default = load_text(name, prompt=prompt), load_text(name)
    assert as_library(chosen, model, prompt=prompt) < 1e-5
    assert as_library(default, model) < 1e-5
    assert chosen.identity != default.identity
    assert chosen.identity.preprocessing["prompt"] == prompt
    assert load_text(name, prompt="find good: ").identity == default.identity


def test_tokens_of_a_prompt_are_no_words_of_the_text(bert_folder: Path) -> None:
    text = "so good"
    backbone = load_text(f"hf-text:{bert_folder}", max_tokens=16, prompt="good a: ")
    spans = backbone.spans(text)
    assert len(spans) == len(backbone.cut(backbone.tokenize([text])[0]))
    words = [text[start:end] for start, end in spans if start < end]
    assert words == ["so", "good"]


def test_a_prompt_of_a_plain_encoder(bert_folder: Path) -> None:
    name = f"hf-text:{bert_folder}"
    plain, prompted = (load_text(name, max_tokens=32, prompt=p) for p in (None, "good: "))
    expected, found = encode_text(plain, "good: a day"), encode_text(prompted, "a day")
    assert torch.equal(expected.pooled, found.pooled)
    assert torch.equal(expected.hidden, found.hidden)
    assert "prompt" not in plain.identity.preprocessing  # the caches of earlier versions
    assert prompted.identity.preprocessing["prompt"] == "good: "
    assert load_text(name, max_tokens=32, prompt="").identity == plain.identity


def test_prompts_that_cannot_be_used(bert_folder: Path) -> None:
    for name in ("bert", "siglip2-text", "dinov2", "tiny-image"):
        with pytest.raises(ConfigError, match=r"takes no prompt.*sentence-transformers or hf-text"):
            BackboneOptions(name, prompt="query: ")
    with pytest.raises(ConfigError, match="not valid text"):
        BackboneOptions("hf-text:x", prompt="\udcff")
    with pytest.raises(ConfigError, match=r"no room for a text.*--max-tokens 8"):
        load_text(f"hf-text:{bert_folder}", prompt="good " * 9, max_tokens=8)


def test_a_decoder_padded_on_the_left(tmp_path: Path) -> None:
    """As Qwen3-Embedding: causal, the last token pooled, its tokenizer pads on the left."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, intermediate_size=48, max_position_embeddings=64,
    )  # fmt: skip
    Qwen3Model(config).save_pretrained(tmp_path / "qwen")
    save_tokenizer(tmp_path / "qwen")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "qwen", padding_side="left")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A [SEP]", special_tokens=[("[SEP]", 3)]
    )
    tokenizer.save_pretrained(tmp_path / "qwen")
    model = save(tmp_path / "model", tmp_path / "qwen", "lasttoken", prompt="query")
    assert model.tokenizer.padding_side == "left"
    backbone = load_text(f"sentence-transformers:{tmp_path / 'model'}")
    assert as_library(backbone, model) < 1e-5


def test_the_layout_of_earlier_versions(bert_folder: Path, tmp_path: Path) -> None:
    """``0_Transformer`` in a folder of its own, and a truth value for each pooling."""
    for name, content in {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "0_Transformer", "type": f"{PACKAGE}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{PACKAGE}.Pooling"},
        ],
        "0_Transformer/sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": True},
        "1_Pooling/config.json": {
            "word_embedding_dimension": 32,
            "pooling_mode_cls_token": True,
            "pooling_mode_mean_tokens": False,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    shutil.copytree(bert_folder, tmp_path / "0_Transformer", dirs_exist_ok=True)
    model = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    backbone = load_text(f"sentence-transformers:{tmp_path}")
    assert as_library(backbone, model) < 1e-5


PACKAGE = "sentence_transformers.models"


def test_minilm_with_published_weights(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared weights are not on this machine")
    exact = {"dtype": torch.float32}
    first = modules.Transformer(str(SHARED / "minilm-l6"), max_seq_length=256, model_kwargs=exact)
    steps = [first, modules.Pooling(384, "mean"), modules.Normalize()]
    model = sentence_transformers.SentenceTransformer(modules=steps, device="cpu")
    model.save(str(tmp_path), create_model_card=False)
    assert as_library(load_text(f"sentence-transformers:{tmp_path}", max_tokens=256), model) < 1e-5


def test_a_model_of_the_hub_is_fetched_once(
    bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, bert_folder, "mean")
    asked = []

    def download(model: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
        asked.append((model, local_files_only))
        if local_files_only:
            raise FileNotFoundError("not on this machine")
        assert "*.safetensors" in allow_patterns
        return str(tmp_path)

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(sentence_transformer, "snapshot_download", download)
    load_text("sentence-transformers:some/model")
    assert asked == [("some/model", True), ("some/model", False)]


@pytest.mark.parametrize(
    ("file", "changes", "match"),
    [
        ("modules.json", {"type": "custom_st.Transformer"}, "own Python code.*custom_st"),
        ("modules.json", {"type": f"{PACKAGE}.WordEmbeddings"}, "not supported.*WordEmbeddings"),
        ("modules.json", {"path": "../elsewhere"}, "inside of the model"),
        ("1_Pooling/config.json", {"pooling_mode": "max"}, "cls, mean and lasttoken.*max"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, "cls, mean"),
        ("config_sentence_transformers.json", {"default_prompt_name": "x"}, "default_prompt_name"),
        ("config.json", {"auto_map": {"AutoModel": "a.B"}}, "own Python code"),
    ],
)
def test_what_is_refused(
    bert_folder: Path, tmp_path: Path, file: str, changes: dict[str, Any], match: str
) -> None:
    save(tmp_path, bert_folder, "mean")
    path = tmp_path / file
    content = json.loads(path.read_text())
    (content[0] if isinstance(content, list) else content).update(changes)
    path.write_text(json.dumps(content))
    with pytest.raises(BackboneError, match=match):
        load_text(f"sentence-transformers:{tmp_path}")


def test_other_folders_and_poolings_are_refused(bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"no sentence-transformers model.*hf-text:FOLDER"):
        load_text(f"sentence-transformers:{bert_folder}")
    save(tmp_path / "wide", bert_folder, "mean", dense=[(32, 48)])
    with pytest.raises(BackboneError, match="not as wide"):
        load_text(f"sentence-transformers:{tmp_path / 'wide'}")
    save(tmp_path / "mean", bert_folder, "mean")
    with pytest.raises(ConfigError, match="pooling of its own"):
        load_text(f"sentence-transformers:{tmp_path / 'mean'}", pooling=Pooling.CLS)
    with pytest.raises(ConfigError, match="needs an argument"):
        BackboneOptions("sentence-transformers")
    assert tiny_bert().config.hidden_size == 32
