"""Activations that somebody has already computed, as evidence: Parquet files, delphi caches, Neuronpedia's exports."""

from autolabel.evidence.sources.base import ActivationFiles, SourceCounts
from autolabel.evidence.sources.opening import open_source
from autolabel.evidence.sources.writing import ActivationWriter, write_activations

__all__ = ["ActivationFiles", "ActivationWriter", "SourceCounts", "open_source", "write_activations"]
