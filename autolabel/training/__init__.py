"""Training of sparse autoencoders on a stream of activations."""

from autolabel.training.trainer import Progress, TrainedWeights, train

__all__ = ["Progress", "TrainedWeights", "train"]
