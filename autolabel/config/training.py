"""How an SAE is trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from autolabel.config.section import Section


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
