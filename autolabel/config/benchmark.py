"""How labelers and scorers are measured on features whose meaning is known."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from autolabel.config.collecting import EvidenceSettings
from autolabel.config.inputs import CorpusSettings, TextSource
from autolabel.config.models import OPERATIONAL, BudgetSettings, LlmSettings, LocalSettings
from autolabel.config.section import Section
from autolabel.hashing import content_id

TRUTH_TEXT = (("sotu", 0.25), ("wikitext-2", 0.35), ("tatoeba-english", 0.6), ("package-docs", 1.0), ("package-code", 0.5))
"""Parts that the benchmark's text is made of, and the share of each."""


def truth_corpus() -> CorpusSettings:
    """The benchmark's own text: speeches, an encyclopaedia, everyday sentences, documentation, code."""
    sources = [TextSource(path=f"part:{name}", share=share) for name, share in TRUTH_TEXT]
    return CorpusSettings(name="TruthBench text", sources=sources, document_tokens=1000)


class TruthSettings(Section):
    """What is measured, on which text, by which models."""

    db: str = "truth.duckdb"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    n: Annotated[int, Field(ge=1, le=400)] = 200
    """Features of the benchmark."""
    families: Annotated[list[str], Field(min_length=1)]
    nulls: Annotated[int, Field(ge=0, le=1000)] = 100
    """Features about nothing beside them, to measure false discoveries on."""
    n_llm: Annotated[int, Field(ge=1)] = 60
    """Features that LLMs label, and that a small model scores by likelihood."""
    n_judge: Annotated[int, Field(ge=1)] = 60
    """Features on which an LLM judges tile by tile."""
    n_expensive: Annotated[int, Field(ge=1)] = 12
    """Features on which protocols run that need dozens of calls for each."""
    labelers: list[str] | None = None
    """Labelers to measure; all that the models at hand allow when absent."""
    scorers: list[str] | None = None
    checks: bool = True
    """Whether intervals, false discoveries and the worth of a leak are measured too; they need no LLM."""
    corpus: CorpusSettings = Field(default_factory=truth_corpus)
    evidence: EvidenceSettings = EvidenceSettings(background_test=4000)
    llm: LlmSettings | None = None
    judge: LlmSettings | None = None
    budget: BudgetSettings = BudgetSettings()
    local: LocalSettings = LocalSettings(embedding_model="part:all-minilm-l6-v2")
    replies: Path | None = None
    """File with recorded replies, used in place of models that are not at hand."""
    answer_mode: Literal["probability", "binary"] = "probability"
    """How the LLM judges: by the probability of its answer, where the endpoint gives it."""
    tiles_per_prompt: Annotated[int, Field(ge=1, le=30)] = 1
    """Tiles judged in one prompt where replies are recorded ones."""

    @property
    def config_hash(self) -> str:
        """Hash of the settings, for `runs`."""
        return content_id("settings", self.model_dump(mode="json"))

    @property
    def job_hash(self) -> str:
        """Hash of what is to be done, wherever it is stored and for however much."""
        left_out: Any = {"db": True, "budget": True, "replies": True, "llm": OPERATIONAL, "judge": OPERATIONAL}
        return content_id("job", self.model_dump(mode="json", exclude=left_out))

    @property
    def judge_llm(self) -> LlmSettings | None:
        """The LLM that judges."""
        return self.judge or self.llm
