"""Sparse autoencoders from files: one module per format, one line per format in `FORMATS`."""

from autolabel.evidence.sae.coder import SparseActivations, SparseCoder
from autolabel.evidence.sae.loading import FORMATS, load_sae

__all__ = ["FORMATS", "SparseActivations", "SparseCoder", "load_sae"]
