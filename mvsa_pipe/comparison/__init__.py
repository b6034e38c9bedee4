"""Runs side by side: scores on the same posts, paired tests, and what each of them cost."""
