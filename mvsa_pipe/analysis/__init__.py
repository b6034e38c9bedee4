"""Runs side by side, and what can be learnt from their predictions."""
