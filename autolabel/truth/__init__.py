"""TruthBench: features whose meaning is known because they were written down first, to measure labelers and scorers by."""
