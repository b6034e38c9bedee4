"""Posts, split, caches and heads joined into runs that can be believed."""
