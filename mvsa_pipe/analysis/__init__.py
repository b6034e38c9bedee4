"""Analyses of runs, from their predictions and records."""
