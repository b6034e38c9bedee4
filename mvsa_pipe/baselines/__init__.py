"""Classifiers of scikit-learn over pooled features and tf-idf, which a fusion head must beat."""
