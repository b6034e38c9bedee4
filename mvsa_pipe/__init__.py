"""Benchmark how text and image are fused for sentiment.

posts → backbones → cache → heads → training → evidence: the frozen backbones run once, their
hidden states and pooled vectors go to HDF5, and every fusion head trains over the cached tensors.
"""

__version__ = "0.1.0"
