"""Settings of a run, as a TOML file holds them; every field says what it does."""

from autolabel.config.benchmark import TruthSettings, truth_corpus
from autolabel.config.collecting import EngineSettings, EvidenceSettings
from autolabel.config.inputs import (
    HUB_PREFIX,
    CorpusSettings,
    SaeSettings,
    SourceSettings,
    SubjectSettings,
    TextSource,
)
from autolabel.config.labelling import FeatureSelection, LabelSettings, ScoreSettings
from autolabel.config.models import BudgetSettings, LlmSettings, LocalSettings
from autolabel.config.reading import read_settings, validated
from autolabel.config.section import Known, Section
from autolabel.config.settings import Settings, TrainSettings
from autolabel.config.training import TrainingSettings

__all__ = [
    "HUB_PREFIX",
    "BudgetSettings",
    "CorpusSettings",
    "EngineSettings",
    "EvidenceSettings",
    "FeatureSelection",
    "Known",
    "LabelSettings",
    "LlmSettings",
    "LocalSettings",
    "SaeSettings",
    "ScoreSettings",
    "Section",
    "Settings",
    "SourceSettings",
    "SubjectSettings",
    "TextSource",
    "TrainSettings",
    "TrainingSettings",
    "TruthSettings",
    "read_settings",
    "truth_corpus",
    "validated",
]
