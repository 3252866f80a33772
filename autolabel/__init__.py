"""autolabel: labels for sparse-autoencoder features, made by an agent and scored on text nobody has looked at."""

from autolabel._version import __version__

__all__ = ["__version__"]
