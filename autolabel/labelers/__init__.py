"""Ways to propose a label: one module each, one line each in `autolabel.pipeline.models`."""
