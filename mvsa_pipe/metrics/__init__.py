"""Scores of predictions, their intervals, and paired tests."""
