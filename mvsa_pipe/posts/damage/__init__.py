"""Damage to texts and pictures at chosen strengths, the same for a post in any order of posts."""
