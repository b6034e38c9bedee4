"""Spreads units of work over a Ray cluster; the only package that imports Ray."""
