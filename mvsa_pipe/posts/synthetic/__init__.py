"""Synthetic posts in MVSA's layout, with known best possible accuracies."""
