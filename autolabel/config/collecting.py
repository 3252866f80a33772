"""What evidence is kept, and how it is collected."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from autolabel.config.section import Section, Share


class EvidenceSettings(Section):
    """How much evidence is kept per feature."""

    strongest: Annotated[int, Field(ge=1)] = 20
    """Strongest windows kept per feature, from train documents."""
    firing_train: Annotated[int, Field(ge=1)] = 40
    """Uniform sample of firing tiles per feature, train documents."""
    firing_validation: Annotated[int, Field(ge=1)] = 40
    firing_test: Annotated[int, Field(ge=20)] = 60
    background_train: Annotated[int, Field(ge=100)] = 1000
    """Uniform sample of all tiles, kept with every feature that fires there; train documents."""
    background_validation: Annotated[int, Field(ge=100)] = 1000
    background_test: Annotated[int, Field(ge=100)] = 2000
    left_context_tokens: Annotated[int, Field(ge=0, le=192)] = 16
    """Tokens shown before a tile."""
    exam_validation: Annotated[int, Field(ge=10)] = 12
    """Tiles of each of the three strata on which labels are chosen."""
    exam_test: Annotated[int, Field(ge=20)] = 20
    """Tiles of each of the three strata of the reported score."""
    min_examples: Annotated[int, Field(ge=1)] | None = None
    """Read the text a sixteenth at a time (by hash), only until enough features fire in so many test tiles; all text when absent."""
    min_examples_share: Share = 0.9
    """Share of the features that fire at all for which `min_examples` must be reached."""
    target_rare: bool = False
    """Then look through the rest of the text for features that fire too seldom: only documents with tokens on which they fire are run."""

    @model_validator(mode="after")
    def _samples_fill_exams(self) -> "EvidenceSettings":
        for split in ("validation", "test"):
            exam, firing, background = (getattr(self, f"{what}_{split}") for what in ("exam", "firing", "background"))
            if exam > firing or 2 * exam > background:
                raise ValueError(f"exam_{split} = {exam} needs firing_{split} ≥ {exam} and background_{split} ≥ {2 * exam}")
        return self

    @model_validator(mode="after")
    def _rare_among_some_text(self) -> "EvidenceSettings":
        if self.target_rare and self.min_examples is None:
            raise ValueError("target_rare needs min_examples: without it all text is read, for rare features too")
        return self


class EngineSettings(Section):
    """How evidence is collected; nothing here changes what is collected."""

    kind: Literal["local", "ray"] = "local"
    """`local`: in this process. `ray`: documents are sharded over the workers of a Ray cluster (`pip install "autolabel[ray]"`)."""
    shards: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Pieces of work for `ray`; a killed run goes on from those finished. Four per worker when absent."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Shards collected at once under `ray`; one per GPU when absent, or one where there is none."""
    worker_cpus: Annotated[float, Field(gt=0)] = 1
    """CPU cores of a worker."""
    worker_gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs of a worker; 1 where the cluster has any when absent."""
    address: str | None = None
    """Ray cluster to join, such as `auto` or `ray://head:10001`; one of its own is started on this machine when absent."""
    shard_url: str | None = None
    """Where workers put finished shards: a folder that all machines share, or any fsspec URL (`s3://…`); beside the database when absent."""
    checkpoint_batches: Annotated[int, Field(ge=1)] = 256
    """Batches between two checkpoints; a killed collection goes on from the last."""
    keep_state: bool = True
    """Keep the folder of a finished collection beside the database, so that text can be added to it later."""
