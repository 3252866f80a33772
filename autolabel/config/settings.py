"""Whole settings files."""

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from autolabel.config.collecting import EngineSettings, EvidenceSettings
from autolabel.config.inputs import CorpusSettings, SaeSettings, SourceSettings, SubjectSettings
from autolabel.config.labelling import FeatureSelection, LabelSettings, ScoreSettings
from autolabel.config.models import OPERATIONAL, BudgetSettings, LlmSettings, LocalSettings
from autolabel.config.section import Section
from autolabel.config.training import TrainingSettings
from autolabel.errors import ConfigError
from autolabel.hashing import content_id


class Settings(Section):
    """A whole settings file."""

    db: str = "labels.duckdb"
    """Database that everything is stored in."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    source: SourceSettings | None = None
    """Files with activations in place of `subject`, `sae` and `corpus`."""
    subject: Annotated[SubjectSettings | None, Field(validate_default=True)] = None
    sae: Annotated[SaeSettings | None, Field(validate_default=True)] = None
    also: list[SaeSettings] = Field(default=[])
    """More SAEs of the same model, collected in the same pass over the text; to label one of them, name it under `sae`."""
    corpus: Annotated[CorpusSettings | None, Field(validate_default=True)] = None
    evidence: EvidenceSettings = EvidenceSettings()
    engine: EngineSettings = EngineSettings()
    llm: LlmSettings | None = None
    """The LLM that proposes labels, and judges them unless `judge` is set."""
    judge: LlmSettings | None = None
    """Another LLM that judges."""
    budget: BudgetSettings = BudgetSettings()
    local: LocalSettings = LocalSettings()
    label: LabelSettings = LabelSettings()
    score: ScoreSettings = ScoreSettings()
    select: FeatureSelection = FeatureSelection()

    @field_validator("subject", "sae", "also", "corpus", mode="before")
    @classmethod
    def _one_kind_of_source(cls, value: Any, info: ValidationInfo) -> Any:
        """A run needs `subject`, `sae` and `corpus`, or `source` alone."""
        has_source = info.data.get("source") is not None
        if value and has_source:
            raise ValueError("[source] stands in place of [subject], [sae] and [corpus]; give one or the other")
        if value is None and not has_source:
            raise PydanticKnownError("missing")
        return value

    @field_validator("subject", mode="after")
    @classmethod
    def _permuted_by_this_run(cls, value: SubjectSettings | None, info: ValidationInfo) -> SubjectSettings | None:
        return value and value.seeded(info.data.get("seed", 0))

    @model_validator(mode="after")
    def _rare_features_are_looked_for_here(self) -> "Settings":
        if self.evidence.target_rare and self.engine.kind == "ray":
            raise ValueError('evidence.target_rare is for one machine; set engine.kind = "local", or leave out target_rare')
        return self

    @model_validator(mode="after")
    def _files_are_read_whole_and_here(self) -> "Settings":
        """Files with activations know neither a part of the text nor workers."""
        evidence, engine = self.evidence, self.engine
        if self.source is not None and (evidence.target_rare or evidence.min_examples is not None or engine.kind == "ray"):
            raise ValueError(
                'evidence.min_examples, evidence.target_rare and engine.kind = "ray" need a model and text; files with activations are '
                "read whole, by one process"
            )
        return self

    @property
    def saes(self) -> list[SaeSettings]:
        """All SAEs whose evidence is collected; the first is the one that is labelled."""
        return [] if self.sae is None else [self.sae, *self.also]

    @property
    def subject_or_refuse(self) -> SubjectSettings:
        """The subject model, where the evidence comes from one."""
        if self.subject is None:
            raise ConfigError("this needs a subject model; the settings name files with activations instead")
        return self.subject

    @property
    def corpus_or_refuse(self) -> CorpusSettings:
        """The text, where a subject model reads it."""
        if self.corpus is None:
            raise ConfigError("this needs a [corpus]; the settings name files with activations instead")
        return self.corpus

    @property
    def source_or_refuse(self) -> SourceSettings:
        """The files with activations, where the evidence comes from them."""
        if self.source is None:
            raise ConfigError("this needs a [source] with activations; the settings name a subject model and text instead")
        return self.source

    @property
    def config_hash(self) -> str:
        """Hash of the settings, for `runs`."""
        return content_id("settings", self.model_dump(mode="json"))

    @property
    def job_hash(self) -> str:
        """Hash of what is to be done, wherever it is stored, however fast and for however much: equal for a run and its resumption."""
        exclude: Any = {"db": True, "budget": True, "engine": True, "llm": OPERATIONAL, "judge": OPERATIONAL}
        job = self.model_dump(mode="json", exclude=exclude)
        names = [llm and (llm.name or llm.base_urls[0]) for llm in (self.llm, self.judge)]
        return content_id("job", [job, names])

    @property
    def judge_llm(self) -> LlmSettings | None:
        """The LLM that judges."""
        return self.judge or self.llm


class TrainSettings(Section):
    """A whole settings file for `autolabel train`."""

    name: str
    """What the SAE is called."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    subject: SubjectSettings
    corpus: CorpusSettings
    training: TrainingSettings

    @field_validator("subject", mode="after")
    @classmethod
    def _permuted_by_this_run(cls, value: SubjectSettings, info: ValidationInfo) -> SubjectSettings:
        return value.seeded(info.data.get("seed", 0))
