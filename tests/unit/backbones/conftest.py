"""Small encoders saved as users have them, made once."""

from pathlib import Path

import pytest
import torch
from backbone_support import save_tokenizer, tiny_bert, tiny_dinov2_config
from torchvision.models import resnet50
from transformers import Dinov2Model


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a small BERT and its tokenizer; read it only."""
    folder = tmp_path_factory.mktemp("bert")
    tiny_bert().save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def dinov2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a small DINOv2; read it only."""
    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    Dinov2Model(tiny_dinov2_config()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def resnet50_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-50's state with random weights and buffers, as torchvision publishes it."""
    torch.manual_seed(0)
    network = resnet50(weights=None)
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("resnet50") / "resnet50.pth"
    torch.save(network.half().state_dict(), path)
    return path
