"""The offline tour: synthetic posts, tiny backbones, every head, a known ceiling."""
