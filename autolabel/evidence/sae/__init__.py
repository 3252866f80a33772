"""Sparse coders from files: one module per format, one line per format in `FORMATS`; and neurons in their place."""

from autolabel.evidence.sae.coder import SparseCoder
from autolabel.evidence.sae.interface import Coder, SparseActivations
from autolabel.evidence.sae.loading import FORMATS, load_sae
from autolabel.evidence.sae.neurons import NeuronCoder

__all__ = ["FORMATS", "Coder", "NeuronCoder", "SparseActivations", "SparseCoder", "load_sae"]
