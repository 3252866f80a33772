"""Which features are labelled, how labels are proposed, chosen and scored."""

from typing import Annotated, Literal

from pydantic import Field

from autolabel.config.section import Section
from autolabel.records import ScorerName

LabelerName = Literal["explain", "lexical", "rule"]


class LabelSettings(Section):
    """How labels are proposed and chosen."""

    labelers: list[LabelerName] = Field(default=["explain", "lexical"], min_length=1)
    candidates: Annotated[int, Field(ge=1, le=16)] = 2
    """Labels `explain` proposes per feature; the best on validation text is chosen."""
    shown_windows: Annotated[int, Field(ge=4, le=40)] = 12
    """Firing windows an LLM is shown."""
    chooser: ScorerName | None = None
    """Scorer that chooses between labels on validation text; when absent, the first that can: detection, likelihood, embedding, …"""


class ScoreSettings(Section):
    """How labels are scored."""

    scorers: list[ScorerName] | None = None
    """Scorers to run; when absent, every one that the models at hand allow."""
    nulls: Annotated[int, Field(ge=0, le=50)] = 4
    """Labels of other features scored on the same exam."""
    judge_tiles: Annotated[int, Field(ge=10, le=100)] | None = None
    """Tiles of each of the three groups that an LLM is asked about under each label, drawn before any label exists; the whole exam when
    absent. With an embedding model at hand the score is steadied by what that says of all tiles."""


class FeatureSelection(Section):
    """Which features to label; all that are alive when nothing is said."""

    features: str | None = None
    """For example `3,17,100-120`."""
    where: str | None = None
    """An SQL condition over `feature_labels`, for example `firing_rate between 1e-4 and 1e-2`."""
    sample: Annotated[int, Field(ge=1)] | None = None
    """So many alive features, spread over firing rates."""
