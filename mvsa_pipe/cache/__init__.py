"""The feature cache: features of frozen backbones on disk, never stale or incomplete.

One HDF5 file contains one data set × one backbone × one fingerprint; see ``cache/README.md`` for
the layout. This package imports neither torch nor backbones, apart from their options.
"""
