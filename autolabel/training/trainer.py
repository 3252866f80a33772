"""The training loop of a sparse autoencoder: reconstruction loss, and sparsity by TopK or by an L1 penalty.

TopK with an auxiliary loss for dead features follows Gao et al. 2024 (arXiv 2406.04093, §2 and appendix A.2); L1 with unit-norm
decoder rows follows Bricken et al. 2023 ("Towards Monosemanticity", appendix). Training runs on activations centred and scaled to
unit mean square; the weights that come out read and write unscaled activations and have decoder rows of norm 1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from autolabel.config import TrainingSettings
from autolabel.training.buffer import shuffled_batches

AUX_FEATURES = 256
"""Dead features that try to explain the error in the auxiliary loss."""
AUX_WEIGHT = 1 / 32
WARMUP_STEPS = 50


@dataclass(frozen=True, slots=True)
class Progress:
    """How training stands, measured on the last batch."""

    tokens: int
    loss: float
    fvu: float
    l0: float
    dead_share: float


@dataclass(frozen=True, slots=True)
class TrainedWeights:
    """Weights for unscaled activations; see `SparseCoder` for shapes."""

    W_enc: torch.Tensor
    b_enc: torch.Tensor
    W_dec: torch.Tensor
    b_dec: torch.Tensor


def train(
    stream: Callable[[], Iterator[torch.Tensor]], settings: TrainingSettings, seed: int, report: Callable[[Progress], None]
) -> TrainedWeights:
    """Train on `settings.tokens` activations of `stream`, which yields tensors (n, d_model) and may be opened again when it ends.

    `report` is called every tenth step.

    Raises:
        ValueError: the stream holds fewer activations than one batch.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = shuffled_batches(stream, settings.buffer_tokens, settings.batch_tokens, settings.reuse, generator)
    first = next(batches)
    model = _Model(first, settings, generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.999))
    n_steps = max(settings.tokens // settings.batch_tokens, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, n_steps))
    batch = first
    for step in range(1, n_steps + 1):
        loss, fvu, l0 = model.losses(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        model.keep_decoder_gradient_tangent()
        optimizer.step()
        schedule.step()
        model.normalise_decoder()
        if step % 10 == 0 or step == n_steps:
            report(Progress(step * settings.batch_tokens, loss.item(), fvu, l0, model.dead_share))
        if step < n_steps:
            batch = next(batches)
    return model.weights()


def _learning_rate(step: int, n_steps: int) -> float:
    """Linear warm-up, then constant, then linear to 0 over the last fifth."""
    return min(1.0, (step + 1) / WARMUP_STEPS, (n_steps - step) / max(n_steps / 5, 1))


class _Model(torch.nn.Module):
    """The SAE on scaled activations, with the count of tokens since each feature last fired."""

    def __init__(self, sample: torch.Tensor, settings: TrainingSettings, generator: torch.Generator) -> None:
        super().__init__()
        d_model = sample.shape[1]
        self._settings = settings
        self._mean = sample.mean(0)
        self._scale = ((sample - self._mean).square().mean().rsqrt()).item()
        decoder = functional.normalize(torch.randn(settings.d_sae, d_model, generator=generator), dim=1)
        self.W_dec = torch.nn.Parameter(decoder)
        self.W_enc = torch.nn.Parameter(decoder.T.clone())
        self.b_enc = torch.nn.Parameter(torch.zeros(settings.d_sae))
        self.b_dec = torch.nn.Parameter(torch.zeros(d_model))
        self._tokens_since_fired = torch.zeros(settings.d_sae, dtype=torch.int64)

    @property
    def dead_share(self) -> float:
        """Share of features that have not fired for `dead_after_tokens`."""
        return self._dead.float().mean().item()

    @property
    def _dead(self) -> torch.Tensor:
        return self._tokens_since_fired > self._settings.dead_after_tokens

    def losses(self, batch: torch.Tensor) -> tuple[torch.Tensor, float, float]:
        """Loss, fraction of variance unexplained and mean active features of a batch, shape (n, d_model)."""
        x = (batch - self._mean) * self._scale
        pre = self._encode(x)
        if self._settings.architecture == "topk":
            values, features = pre.topk(self._settings.k, dim=1, sorted=False)
            values = values.relu()
            error = x - self._decode(features, values)
            loss = error.square().mean() + self._auxiliary_loss(pre, error)
            active = features[values > 0]
        else:
            code = pre.relu()
            error = x - (code @ self.W_dec + self.b_dec)
            loss = error.square().mean() + self._settings.l1_weight * code.sum(1).mean() / x.shape[1]
            active = (code > 0).nonzero()[:, 1]
        self._tokens_since_fired += len(x)
        self._tokens_since_fired[active] = 0
        with torch.no_grad():
            fvu = (error.square().sum() / (x - x.mean(0)).square().sum()).item()
        return loss, fvu, len(active) / len(x)

    def _encode(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            product = (x - self.b_dec) @ self.W_enc
        return product.float() + self.b_enc

    def _decode(self, features: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return functional.embedding_bag(features, self.W_dec, per_sample_weights=values, mode="sum") + self.b_dec

    def _auxiliary_loss(self, pre: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        """How badly the dead features explain what the living ones leave over."""
        dead = self._dead.nonzero()[:, 0]
        if len(dead) == 0:
            return error.new_zeros(())
        values, places = pre[:, dead].topk(min(AUX_FEATURES, len(dead)), dim=1, sorted=False)
        left_over = error.detach()
        explained = functional.embedding_bag(dead[places], self.W_dec, per_sample_weights=values.relu(), mode="sum")
        return AUX_WEIGHT * (left_over - explained).square().mean() / left_over.square().mean()

    @torch.no_grad()
    def keep_decoder_gradient_tangent(self) -> None:
        """Remove the part of the decoder's gradient that would only change the norm of its rows."""
        gradient = self.W_dec.grad
        if gradient is not None:
            gradient -= (gradient * self.W_dec).sum(1, keepdim=True) * self.W_dec

    @torch.no_grad()
    def normalise_decoder(self) -> None:
        """Bring every decoder row back to norm 1."""
        self.W_dec.copy_(functional.normalize(self.W_dec, dim=1))

    @torch.no_grad()
    def weights(self) -> TrainedWeights:
        """The weights for unscaled activations: with f' = s f and x' = s (x − mean), scaling and centring fold into the biases."""
        return TrainedWeights(
            self.W_enc.clone(), self.b_enc / self._scale, self.W_dec.clone(), self.b_dec / self._scale + self._mean
        )
