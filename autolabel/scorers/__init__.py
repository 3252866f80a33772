"""Ways to predict from a label which tiles fire: one module each, one line each in `autolabel.pipeline.models`."""
