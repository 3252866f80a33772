"""How others label features and score labels, step by step in our own code, as rows of the benchmark's tables."""
