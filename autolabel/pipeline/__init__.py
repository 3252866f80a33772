"""The whole job, stage by stage: collect, calibrate, label, choose, score. Every stage does only what the database lacks."""
