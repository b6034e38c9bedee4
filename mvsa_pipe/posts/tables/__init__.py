"""Reads tables of posts: delimited text, JSON lines and parquet, to rows of checked cells."""
