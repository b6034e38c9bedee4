"""The whole pipeline offline: synthetic posts, tiny backbones, every head, a known ceiling."""
