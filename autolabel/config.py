"""Settings of a run, as a TOML file holds them. Unknown keys are refused by name; every field says what it does."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from autolabel.errors import ConfigError
from autolabel.hashing import content_id
from autolabel.records import ScorerName, Split

Known = Literal["yes", "no", "unknown"]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


SectionT = TypeVar("SectionT", bound=Section)


class SubjectSettings(Section):
    """The language model whose activations are read."""

    model: str
    """Folder or hub name of a causal language model in transformers' format."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "bfloat16"
    """Number format of the forward pass. `auto`: bfloat16 where the hardware has instructions for it, else float32; stored either way."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, …"""
    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | None = None
    """Spread a model that is too big for one GPU over all there are (and the memory of the machine), through accelerate."""
    quantization: Literal["8bit", "4bit"] | None = None
    """Load the weights in 8 or 4 bits, through bitsandbytes; activations change a little, so evidence says so."""
    context_tokens: Annotated[int, Field(ge=65, le=8192)] = 256
    """Tokens of a context, its first (BOS) token included."""
    batch_contexts: Annotated[int, Field(ge=1)] = 8
    """Contexts run at once; the shape of a batch is fixed, so results do not depend on what shares it."""

    @model_validator(mode="after")
    def _one_placement(self) -> "SubjectSettings":
        if self.device_map is not None and self.device != "auto":
            raise ValueError(
                f'device_map = "{self.device_map}" chooses the devices; leave out device = "{self.device}" or device_map'
            )
        return self


class SaeSettings(Section):
    """The sparse autoencoder, transcoder or neurons whose features are labelled; `docs/sae-formats.md` lists the formats."""

    kind: Literal["sae", "neurons"] = "sae"
    """`sae`: an SAE or transcoder from files. `neurons`: both signs of every MLP neuron of the layer that `hookpoint` names."""
    path: str
    """Folder with the SAE's files, or `hub:OWNER/REPO/FOLDER`; neurons have none."""
    subfolder: str | None = None
    """Folder within `path`, for a `path` that is a repository with many SAEs."""
    hookpoint: str | None = None
    """Module of the subject model whose output it reads, or `MODULE:input`; the SAE's own settings say it when absent."""
    k: Annotated[int, Field(ge=1)] | None = None
    """For `neurons`: how many of the largest activations of each token count; all that are not 0 when absent."""

    @model_validator(mode="before")
    @classmethod
    def _neurons_have_no_path(cls, values: Any) -> Any:
        return {"path": "", **values} if isinstance(values, dict) and values.get("kind") == "neurons" else values

    @model_validator(mode="after")
    def _one_source(self) -> "SaeSettings":
        if self.kind == "sae":
            if not self.path:
                raise ValueError('path = "" names no SAE; give the folder with its files, or set kind = "neurons"')
            if self.k is not None:
                raise ValueError(f"k = {self.k} is for neurons; an SAE's own settings say its k")
        elif self.path or self.subfolder:
            raise ValueError(f'neurons have no files; leave out path = "{self.path}" and subfolder')
        elif not self.hookpoint:
            raise ValueError('neurons need a hookpoint, the input of a down projection: hookpoint = "layers.3.mlp.down_proj:input"')
        return self


HUB_PREFIX = "hf:"
"""What the path of a dataset on the Hugging Face Hub begins with."""


class TextSource(Section):
    """One source of text; `docs/corpora.md` says how each kind is read."""

    path: str
    """File, folder, glob or address (`s3://…`); `part:NAME` is a part fetched by `autolabel demo --fetch`, `hf:OWNER/NAME` a dataset."""
    name: str | None = None
    """What the source is called in reports; the file name when absent."""
    format: Literal["auto", "text", "jsonl", "parquet", "csv", "tsv"] = "auto"
    """`text`: a document per file. Else a document per line or row. `auto` goes by each file's name."""
    text_column: str | None = None
    """Column that holds the text; found by name and length when absent."""
    id_column: str | None = None
    """Column that holds the document's id; a column called `id` or the like when absent, else file name and line."""
    delimiter: Annotated[str, Field(pattern=r'^[^\r\n"]$')] | None = None
    """What separates the fields of a CSV file; a comma, in `.tsv` files a tab, when absent."""
    share: Share = 1.0
    """Share of its documents to use, chosen by hash."""
    max_documents: Annotated[int, Field(ge=1)] | None = None
    """Read no more than its first so many documents; all when absent."""
    config: str | None = None
    """Configuration of an `hf:` dataset, where it has several."""
    split: str = "train"
    """Split of an `hf:` dataset, as its makers call it; nothing to do with our own splits."""
    revision: str | None = None
    """Commit, tag or branch of an `hf:` dataset; the newest when absent."""
    streaming: bool = True
    """Read an `hf:` dataset record by record; `false` downloads all of it first."""

    @property
    def is_on_the_hub(self) -> bool:
        """Whether the text is a dataset of the Hugging Face Hub."""
        return self.path.startswith(HUB_PREFIX) and not self.path.startswith(f"{HUB_PREFIX}//")

    @model_validator(mode="after")
    def _hub_settings_need_the_hub(self) -> "TextSource":
        fields = type(self).model_fields
        foreign = [name for name in ("config", "split", "revision", "streaming") if getattr(self, name) != fields[name].default]
        if foreign and not self.is_on_the_hub:
            raise ValueError(f"{', '.join(foreign)} is for datasets of the Hub only; path = {self.path!r} is none (hf:OWNER/NAME)")
        return self


class SplitShares(Section):
    """How documents are divided between what is shown, chosen on and tested on."""

    train_share: Share = 0.35
    """Share of documents shown to the labeler."""
    validation_share: Share = 0.2
    """Share of documents that choose between labels."""

    @model_validator(mode="after")
    def _leave_a_test_split(self) -> Self:
        if self.train_share + self.validation_share >= 1:
            raise ValueError("train_share + validation_share must stay below 1, or nothing is left to test on")
        return self

    @property
    def shares(self) -> dict[Split, float]:
        """Share of documents in each split; adds up to 1."""
        test = 1 - self.train_share - self.validation_share
        return {"train": self.train_share, "validation": self.validation_share, "test": test}


class CorpusSettings(SplitShares):
    """The text, and what is known of who has seen it before."""

    name: str = "corpus"
    sources: Annotated[list[TextSource], Field(min_length=1)]
    document_tokens: Annotated[int, Field(ge=64)] = 2000
    """Longer documents are cut at paragraph breaks into blocks of at most this many tokens."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Stop reading after this many tokens; unlimited when absent."""
    unseen_by_labeler: Known = "unknown"
    unseen_by_sae: Known = "unknown"
    unseen_by_subject: Known = "unknown"


class SourceSettings(SplitShares):
    """Activations that somebody has already computed: files in place of a subject model, an SAE and a corpus."""

    kind: Literal["activations", "delphi", "neuronpedia"]
    """`activations`: Parquet files of your own. `delphi`: a latent cache. `neuronpedia`: the exported activations of one source."""
    path: str
    """Folder with the files."""
    name: str | None = None
    """What the source is called in reports; what the files say, else the folder's name, when absent."""
    subject_model: str | None = None
    """Model that the activations come from; what the files say when absent."""
    d_sae: Annotated[int, Field(ge=1, le=1 << 24)] | None = None
    """Number of features; one more than the largest index in the files when absent."""
    token_style: Literal["auto", "text", "bpe", "sentencepiece"] = "auto"
    """How tokens are written: as the text they stand for, in the alphabet of byte-level BPE (`Ġ` is a blank) or with `▁` for blanks."""
    negative: Literal["refuse", "drop"] = "refuse"
    """What happens to activations below zero."""
    directions: str | None = None
    """File with the features' decoder directions, d_sae × d_model, as .npy or .safetensors; for `activations` and `delphi`."""
    tokenizer: str | None = None
    """Folder or hub name of the tokenizer that made the token ids of a delphi cache; the model its config.json names when absent."""

    @model_validator(mode="after")
    def _options_belong_to_the_kind(self) -> "SourceSettings":
        if self.tokenizer is not None and self.kind != "delphi":
            raise ValueError(f"tokenizer belongs to kind = 'delphi'; files of kind = '{self.kind}' hold their tokens as text")
        if self.directions is not None and self.kind == "neuronpedia":
            raise ValueError("directions are of no use with kind = 'neuronpedia': its exports have no exam to draw neighbours for")
        return self


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


class LlmSettings(Section):
    """An LLM behind any OpenAI-compatible API, and how hard it may be asked."""

    base_url: str | Annotated[list[str], Field(min_length=1)] = "https://api.openai.com/v1"
    """Its address; several addresses are a pool of servers with the same model, balanced by load."""
    name: str | None = None
    """What the endpoint is called in stored rows; the first address when absent. Answers are shared by what has the same name and model."""
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key. The key itself is stored nowhere."""
    max_concurrency: Annotated[int, Field(ge=1)] = 8
    """Requests in flight at once, at each address, at most; fewer while the endpoint is unhappy."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """At each address; the endpoint's own limits, where it states them, are kept in any case."""
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Input and output together, at each address."""
    timeout_s: Annotated[float, Field(gt=0)] = 120
    """Longest time from sending a request to its whole reply."""
    patience_s: Annotated[float, Field(ge=0)] = 60
    """When no address has answered anything for so long, the run stops; the same command goes on later."""
    reasoning_tokens: Annotated[int, Field(ge=0)] = 0
    """Room for the tokens a reasoning model thinks with before it answers, added to the limit of every reply."""
    tokenizer: str | None = None
    """Folder or hub name of the model's tokenizer, to count tokens exactly; when absent the server is asked, else bytes are counted."""
    batch: bool = False
    """Send requests through the Batch API: half the price, answers within a day."""
    keep_requests: bool = False
    """Keep the body of every request in the database, not only its hash."""
    label_temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    tiles_per_prompt: Annotated[int, Field(ge=1, le=30)] = 10
    """Tiles judged in one prompt. Models of a few billion parameters judge well only one at a time: set 1 for them."""

    @property
    def base_urls(self) -> list[str]:
        """The addresses."""
        return [self.base_url] if isinstance(self.base_url, str) else self.base_url


OPERATIONAL = {"base_url", "max_concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s", "patience_s"} | {
    "api_key_env",
    "tokenizer",
    "batch",
    "keep_requests",
}
"""Settings of an LLM that say how it is asked, not what."""


class BudgetSettings(Section):
    """What a job may spend on LLM calls: all runs of the same settings on one database together, so that a resumed run spends the rest."""

    max_usd: Annotated[float, Field(ge=0)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    """Input and output together."""
    max_calls: Annotated[int, Field(ge=0)] | None = None
    """Requests sent, those that failed included; not those that the endpoint turned away (HTTP 4xx)."""
    ask_above_usd: Annotated[float, Field(ge=0)] = 1.0
    """`run` asks before it spends more than this."""
    ask_above_tokens: Annotated[int, Field(ge=0)] = 1_000_000
    """The same where the price is unknown; servers on this machine are never asked about."""
    prices: str | None = None
    """TOML file with prices that win over the shipped ones."""


class LocalSettings(Section):
    """Models run in this process."""

    likelihood_model: str | None = None
    """Causal language model that proposes by completion and scores by likelihood; none when absent."""
    embedding_model: str | None = None
    """Sentence-embedding model for the embedding scorer; none when absent."""


LabelerName = Literal["explain", "lexical"]


class LabelSettings(Section):
    """How labels are proposed and chosen."""

    labelers: Annotated[list[LabelerName], Field(min_length=1)] = ["explain", "lexical"]
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


class FeatureSelection(Section):
    """Which features to label; all that are alive when nothing is said."""

    features: str | None = None
    """For example `3,17,100-120`."""
    where: str | None = None
    """An SQL condition over `feature_labels`, for example `firing_rate between 1e-4 and 1e-2`."""
    sample: Annotated[int, Field(ge=1)] | None = None
    """So many alive features, spread over firing rates."""


class Settings(Section):
    """A whole settings file."""

    db: str = "labels.duckdb"
    """Database that everything is stored in."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    source: SourceSettings | None = None
    """Files with activations in place of `subject`, `sae` and `corpus`."""
    subject: Annotated[SubjectSettings | None, Field(validate_default=True)] = None
    sae: Annotated[SaeSettings | None, Field(validate_default=True)] = None
    also: list[SaeSettings] = []
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

    @model_validator(mode="after")
    def _rare_features_are_looked_for_here(self) -> "Settings":
        if self.evidence.target_rare and self.engine.kind == "ray":
            raise ValueError('evidence.target_rare is for one machine; set engine.kind = "local", or leave out target_rare')
        if self.evidence.target_rare and self.source is not None:
            raise ValueError("evidence.target_rare needs a model and text; files with activations are read whole")
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


class TrainingSettings(Section):
    """How an SAE is trained."""

    hookpoint: str
    """Module of the subject model whose output is reconstructed."""
    architecture: Literal["topk", "l1"] = "topk"
    """`topk`: exactly k features per token. `l1`: ReLU features, unit-norm decoder, L1 penalty."""
    d_sae: Annotated[int, Field(ge=2)] = 4096
    k: Annotated[int, Field(ge=1)] = 32
    """Active features per token, for `topk`."""
    l1_weight: Annotated[float, Field(gt=0)] = 0.05
    """Weight of the sparsity penalty, for `l1`, on activations scaled to unit mean square."""
    tokens: Annotated[int, Field(ge=1)] = 2_000_000
    """Tokens trained on, repeated ones counted; the text is read again when it runs out."""
    batch_tokens: Annotated[int, Field(ge=8)] = 1024
    buffer_tokens: Annotated[int, Field(ge=64)] = 65_536
    """Activations held and shuffled; half is replaced at a time."""
    reuse: Annotated[int, Field(ge=1, le=16)] = 1
    """How often each activation is trained on before it leaves the buffer; the model runs over tokens / reuse tokens of text."""
    learning_rate: Annotated[float, Field(gt=0)] = 4e-4
    dead_after_tokens: Annotated[int, Field(ge=1)] = 100_000
    """A feature that has not fired for so many tokens counts as dead and gets the auxiliary loss."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> "TrainingSettings":
        if self.k > self.d_sae:
            raise ValueError(f"k = {self.k} exceeds d_sae = {self.d_sae}")
        if self.buffer_tokens < 2 * self.batch_tokens:
            raise ValueError(f"buffer_tokens = {self.buffer_tokens} must hold at least two batches of {self.batch_tokens}")
        return self


class TrainSettings(Section):
    """A whole settings file for `autolabel train`."""

    name: str
    """What the SAE is called."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    subject: SubjectSettings
    corpus: CorpusSettings
    training: TrainingSettings


def read_settings(path: Path, kind: type[SectionT], overrides: dict[str, Any] | None = None) -> SectionT:
    """Read a settings file; `overrides` maps dotted keys to values that win over the file's.

    Raises:
        ConfigError: the file is missing, is no TOML, or holds an unknown key or a value out of range.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no settings file '{path}'; `autolabel init {path}` writes one to start from") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{path}' is not a TOML file: {error}") from None
    except OSError as error:
        raise ConfigError(f"cannot read settings file '{path}': {error.strerror}") from None
    for dotted, value in (overrides or {}).items():
        *tables, key = dotted.split(".")
        table = content
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"'{path}': {name} = {table!r} must be a table for '{dotted}' to be set in it")
        table[key] = value
    return validated(content, kind, str(path))


def validated(content: dict[str, Any], kind: type[SectionT], source: str) -> SectionT:
    """Check settings and say in one line each what is wrong with them."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = [_problem(kind, item["loc"], item["type"], item["msg"], item["input"]) for item in error.errors()]
        raise ConfigError(f"'{source}': " + "; ".join(problems)) from None


def _problem(kind: type[BaseModel], where: tuple[int | str, ...], what: str, message: str, value: object) -> str:
    name = ".".join(str(part) for part in where)
    if what == "extra_forbidden":
        return f"unknown key '{name}' (known here: {', '.join(_known_keys(kind, where[:-1]))})"
    if what == "missing":
        return f"key '{name}' is missing"
    if what == "value_error":
        return f"[{name}] {message.removeprefix('Value error, ')}" if name else message.removeprefix("Value error, ")
    return f"{name} = {value!r}: {message[:1].lower()}{message[1:]}"


def _known_keys(kind: type[BaseModel], where: tuple[int | str, ...]) -> list[str]:
    fields = kind.model_fields
    for part in where:
        if isinstance(part, int):
            continue
        annotation = fields[part].annotation
        nested = next((a for a in (annotation, *_arguments(annotation)) if _is_section(a)), None)
        if nested is None:
            return []
        fields = nested.model_fields
    return list(fields)


def _arguments(annotation: Any) -> list[Any]:
    arguments = list(getattr(annotation, "__args__", ()))
    return arguments + [inner for argument in arguments for inner in _arguments(argument)]


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)
