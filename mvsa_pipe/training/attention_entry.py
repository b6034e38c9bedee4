"""Entropy of a head's attention on validation, as entries of its history."""

import torch

from mvsa_pipe.heads.attention_maps import attention_maps
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.training.data import TrainingData

# What the entries of each layer begin with.
ATTENTION_ENTROPY = "attention_entropy/"

# Weights of all pairs of tokens are held at once.
_POSTS_AT_ONCE = 64


@torch.inference_mode()
def attention_entry(head: FusionHead, data: TrainingData) -> dict[str, float]:
    """Normalised entropy of each attention layer, a mean over validation posts and attention heads.

    Empty for heads without attention over tokens.
    """
    layers = head.eval().attention_layers()
    totals = torch.zeros(len(layers), 2, dtype=torch.float64)
    if layers:
        chosen = torch.split(data.val, _POSTS_AT_ONCE)
        for batch in data.features.batches(chosen, head.needs):
            for place, found in enumerate(attention_maps(head, layers, batch.to(head.device))):
                entropy = found.entropy().mean(dim=1)
                known = entropy.isfinite()
                totals[place] += torch.stack([entropy[known].sum(), known.sum()]).cpu()
    return {
        # experiment trackers take no arrows in names
        f"{ATTENTION_ENTROPY}{layer.name.replace('→', 'to')}": total / count
        for layer, (total, count) in zip(layers, totals.tolist(), strict=True)
        if count
    }
