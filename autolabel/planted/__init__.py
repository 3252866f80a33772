"""Answers that are known because they were put there: directions planted into a subject model, and causal effects of known size."""
