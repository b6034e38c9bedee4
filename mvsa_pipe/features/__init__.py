"""Cached features as tensors: one batch, and where batches come from."""
