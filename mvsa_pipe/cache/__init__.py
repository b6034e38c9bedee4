"""The feature cache: what frozen backbones said of every post, on disk, never stale or torn.

One HDF5 file holds one data set × one backbone × one fingerprint; see ``cache/README.md`` for the
layout. This room knows arrays and files, no backbones and no torch.
"""
