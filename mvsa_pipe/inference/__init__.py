"""Runs at work again: scored on any posts, and asked about new ones."""
