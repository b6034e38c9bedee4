"""Low-rank adapters (LoRA) for transformers (Hu et al. 2021)."""

from collections.abc import Iterable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from mvsa_pipe.errors import ConfigError

# Maps of an attention that get adapters, by the last part of their names: queries and values, as in
# the paper's section 4.2.
_ADAPTED = ("query", "value", "q_proj", "v_proj", "q_lin", "v_lin", "qkv", "Wqkv")
_ADAPTER = "default"


def require_lora() -> None:
    """Raises if ``peft`` is not installed.

    Raises:
        ConfigError: The package is missing.
    """
    if find_spec("peft") is None:
        raise ConfigError("--lora needs the package peft", hint='pip install "mvsa-pipe[lora]"')


def adapt(
    network: nn.Module, name: str, trained: Iterable[str], rank: int, seed: int
) -> dict[str, str]:
    """Adds adapters to the queries and values of a transformer, and freezes all other parameters.

    A product of two matrices of ``rank`` columns is added to each weight, scaled by 2; it starts
    at zero, so that nothing changes before the first step.

    Args:
        network: The transformer, changed in place.
        name: The backbone's name, for messages.
        trained: Names of the parameters that would be trained without adapters.
        rank: Rank of the adapters.
        seed: Seed of their initial values.

    Returns:
        Name of each adapter's parameter → name of the adapted weight.

    Raises:
        ConfigError: The network is not a transformer.
    """
    require_lora()
    maps = {
        layer
        for layer, module in network.named_modules()
        if isinstance(module, nn.Linear) and layer.rpartition(".")[2] in _ADAPTED
    }
    targets = sorted(layer for layer in maps if f"{layer}.weight" in set(trained))
    if not targets:
        raise ConfigError(
            f"--lora cannot train backbone {name!r}: it has no attention with linear layers of "
            "queries and values",
            expected=f"a transformer whose layers are named {', '.join(_ADAPTED)}, such as bert, "
            "hf-text:…, clip-text or dinov2",
            found=type(network).__name__,
            hint="leave --lora out, or freeze that backbone by a learning rate of 0",
        )
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        inject_adapter_in_model(config, network, adapter_name=_ADAPTER)
    adapters = {
        parameter: f"{layer}.weight"
        for layer in targets
        for parameter, _ in network.named_parameters()
        if parameter.startswith(f"{layer}.lora_")
    }
    for parameter, value in network.named_parameters():
        value.requires_grad_(parameter in adapters)
    return adapters


def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """A network's state with every adapter merged into its weight."""
    state = dict(network.state_dict())
    for layer, module in network.named_modules():
        if not hasattr(module, "get_delta_weight"):
            continue
        base = f"{layer}.base_layer."
        for name in [name for name in state if name.startswith(base)]:
            state[f"{layer}.{name.removeprefix(base)}"] = state.pop(name)
        with torch.no_grad():
            weight = state[f"{layer}.weight"]
            state[f"{layer}.weight"] = weight + module.get_delta_weight(_ADAPTER).to(weight.dtype)
        for name in [name for name in state if name.startswith(f"{layer}.lora_")]:
            del state[name]
    return state
