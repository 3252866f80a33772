"""Where activations come from: a subject model, an SAE and text, or files that hold them already."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from autolabel.config.section import Known, Section, Share
from autolabel.records import Split


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
    weights: Literal["as_they_are", "permuted"] = "as_they_are"
    """`permuted`: a control, the model with the entries of each weight matrix of its blocks in another order; `docs/controls.md`."""
    permutation_seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """What order `permuted` puts them in; the run's seed when absent."""
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

    @model_validator(mode="after")
    def _whole_weights_to_permute(self) -> "SubjectSettings":
        if self.weights == "permuted" and (self.quantization is not None or self.device_map is not None):
            raise ValueError('weights = "permuted" needs the whole model on one device; leave out quantization and device_map')
        if self.weights != "permuted" and self.permutation_seed is not None:
            raise ValueError(f'permutation_seed = {self.permutation_seed} is for weights = "permuted" only')
        return self

    def seeded(self, seed: int) -> Self:
        """These settings in which a permutation that names no seed has the run's."""
        if self.weights != "permuted" or self.permutation_seed is not None:
            return self
        return self.model_copy(update={"permutation_seed": seed})


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
    hookpoint_out: str | None = None
    """Module whose output a transcoder reconstructs, likewise."""
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
        elif self.path or self.subfolder or self.hookpoint_out:
            raise ValueError(f'neurons have no files; leave out path = "{self.path}", subfolder and hookpoint_out')
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
    """Number of features; one more than the largest index in the files when absent, which must not exceed 1,048,576 then."""
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
