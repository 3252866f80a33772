"""The whole job, stage by stage: collect, calibrate, label, choose, score. Every stage does only what the database lacks."""

from autolabel.pipeline.running import Outcome, Watcher, run_stages

__all__ = ["Outcome", "Watcher", "run_stages"]
