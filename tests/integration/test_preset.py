"""``--preset frozen-2026`` from two commands, offline, with a small model of each encoder."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import BitImageProcessor, Dinov2Model

UNIT = Path(__file__).parents[1] / "unit" / "backbones"
SENTENCES = "sentence-transformers:Qwen/Qwen3-Embedding-0.6B"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each encoder, as a user has them without internet."""
    sys.path.insert(0, str(UNIT))
    try:
        from backbone_support import save_tokenizer, tiny_bert, tiny_dinov2_config
        from small_families import save_small
    finally:
        sys.path.remove(str(UNIT))
    root = tmp_path_factory.mktemp("weights")
    made = {"bert": root / "bert", "dinov2": root / "dinov2"}
    tiny_bert().save_pretrained(made["bert"])
    save_tokenizer(made["bert"])
    torch.manual_seed(0)
    Dinov2Model(tiny_dinov2_config()).save_pretrained(made["dinov2"])
    BitImageProcessor().save_pretrained(made["dinov2"])
    for name in ("twitter-roberta", "siglip2-text", "sentence-transformers", "dinov3"):
        save_small(name, root / name)
        made[name] = root / name
    made[SENTENCES] = made.pop("sentence-transformers")
    return made | {"siglip2-image": made["siglip2-text"]}


def weights(folders: dict[str, Path], *without: str) -> list[str]:
    named = [name for name in folders if name not in without]
    return [word for name in named for word in ("--weights", f"{name}={folders[name]}")]


def test_two_commands_make_the_table(folders, workplace, mvsa, refused, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.rmtree(workplace / "cache")
    preset = ["--preset", "frozen-2026"]
    bench = ["bench", *preset, "--seeds", 1, "--epochs", 1]
    said = refused(*bench)
    assert "Next: mvsa extract --data data --preset frozen-2026" in said
    assert "features of bert, twitter-roberta, siglip2-text, sentence-transformers:Qwen" in said
    assert "dinov2, dinov3, siglip2-image" in said

    extract = ["extract", *preset, "--max-tokens", 20, "--keep", "pooled", "--json"]
    said = refused(*extract, *weights(folders, "dinov3"), keeps=False)
    assert "backbone 'dinov3' cannot be loaded" in said
    assert "accept its terms (DINOv3 License)" in said
    assert "--weights dinov3=PATH" in said
    assert "Expected features of dinov2, dinov3, siglip2-image" in refused(*bench)

    result = mvsa(*extract, *weights(folders))
    assert result.exit_code == 0, result.output
    records = json.loads(result.stdout)
    assert {record["backbone"] for record in records} == set(folders)

    result = mvsa(*bench, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert len(rows) == 4 + 3 + 4 * 3 * 4  # each modality once, and four heads over every pair
    assert len({row["pair"] for row in rows}) == 4 + 3 + 4 * 3
