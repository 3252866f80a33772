"""What the load gate finds out about an SAE on real tokens, and which of it is nonsense (validity §3)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from autolabel.errors import DataError
from autolabel.evidence.corpus import Document
from autolabel.evidence.fit import Fit, Sample, fit, mean_and_sink_fvu, sample
from autolabel.evidence.sae import Coder, SparseCoder
from autolabel.evidence.subject import Subject

L0_FACTOR = 5.0
"""Between training text and other text, L0 differs by some ten percent; a wrong activation rule multiplies it (Llama Scope: ×25)."""
BEYOND_SINK = 0.95
"""Of what the mean and one direction leave unexplained, an SAE must explain a twentieth at least. Sinks lie along one direction and
hold up to 98% of the variance, so that reconstructing them alone scores an FVU of .008; left out, the same SAE scores 1."""
WORSE_THAN_MEAN = 1.05
"""From here on the words differ: it does not merely reconstruct nothing, it reconstructs something else."""
DENSE = 0.5
"""A feature that is active on half of the tokens says nothing about them; an SAE of which half are so was loaded wrongly."""
NEURONS = "neurons"
"""The architecture of what is no SAE: a model's own neurons, of which nothing is expected but that they are read rightly."""
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate measured; FVU is the fraction of variance unexplained, lower is better, 1 is as bad as the mean."""

    name: str
    architecture: str
    rule: str
    """How it encodes, in words."""
    d_in: int
    d_sae: int
    d_out: int
    hookpoint: str
    """Where it reads, as its files or the settings write it."""
    hookpoint_resolved: str
    """The same in our own words."""
    hookpoint_out: str | None
    """Where what a transcoder reconstructs is found."""
    hookpoint_out_resolved: str | None
    number_format: str
    """Of the subject model's forward pass."""
    bos: bool
    """Whether contexts begin with BOS; what the SAE's files say is followed."""
    bos_said: bool | None
    """What they say."""
    n_tokens: int
    """Tokens measured on."""
    n_first: int
    """BOS positions left out."""
    n_excluded: int
    """Tokens left out because their norm is an outlier."""
    n_not_finite: int
    """Tokens at which the model's own activations are NaN or infinite."""
    excluded_variance_share: float
    """Share of the variance, of the target over all positions, that is gone with what was left out."""
    norm_limit: float
    """Norm at the hookpoint above which a token is an outlier."""
    fvu: float
    fvu_median: float
    """Median over tokens."""
    fvu_mean_and_sink: float
    """What the best reconstruction from the mean and one direction leaves unexplained."""
    fvu_with_bos: float
    fvu_without_bos: float
    l0: float
    advertised_l0: float | None
    density: dict[str, float]
    """Quantiles, over features, of the share of tokens they are active on."""
    silent_share: float
    """Share of features active on none of the tokens."""
    dense_share: float
    """Share of features active on at least half of the tokens."""
    diagnosis: str | None = None
    """What would fit better, and how to set it."""

    def as_dict(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        return asdict(self)

    def summary(self) -> str:
        """The numbers in a few lines."""
        said = {None: "its files do not say", True: "as its files say", False: "as its files say"}[self.bos_said]
        advertised = "" if self.advertised_l0 is None else f" (its settings say {self.advertised_l0:.0f})"
        rows = {
            "SAE": f"{self.name}: {self.rule}",
            "shapes": f"{self.d_in:,} → {self.d_sae:,} features → {self.d_out:,}",
            "reads": _place(self.hookpoint, self.hookpoint_resolved),
            "writes": _place(self.hookpoint_out or "", self.hookpoint_out_resolved or ""),
            "contexts": f"{'begin with BOS' if self.bos else 'without BOS'} ({said}), {self.number_format}",
            "FVU": f"{self.fvu:.3f}, median token {self.fvu_median:.3f}; the mean and a sink alone {self.fvu_mean_and_sink:.3f}; "
            f"with BOS {self.fvu_with_bos:.3f}, without {self.fvu_without_bos:.3f}",
            "L0": f"{self.l0:.1f}{advertised}",
            "firing": f"{self.silent_share:.0%} of features silent here, {self.dense_share:.1%} on half of the tokens or more; "
            f"half of all on less than {self.density['0.5']:.2%} of tokens, 5% on more than {self.density['0.95']:.2%}",
            "left out": f"{self.n_first} BOS positions and {self.n_excluded} tokens of norm above {self.norm_limit:,.0f}, with "
            f"{self.excluded_variance_share:.1%} of the variance",
        }
        lines = [f"  {what:<9} {text}" for what, text in rows.items() if text]
        return "\n".join([f"load gate on {self.n_tokens:,} test tokens", *lines])

    def problems(self) -> list[str]:
        """Why the SAE should not be used, in words; empty when nothing is wrong. What has one cause is told once."""
        found = self._symptoms()
        if self.diagnosis is None:
            return found
        return [f"{found[0]}; {self.diagnosis}" if found else self.diagnosis]

    def _symptoms(self) -> list[str]:
        if self.n_not_finite:
            return [
                f"at '{self.hookpoint_resolved}' the model itself yields NaN or infinity on {self.n_not_finite:,} tokens "
                f'({self.number_format}; set [subject] dtype = "bfloat16" or "float32" if numbers overflow)'
            ]
        if self.l0 == 0:
            return ["no feature fires on any token"]
        if not self.fvu < float("inf"):
            return ["FVU is not finite: what it reconstructs holds NaN or infinity"]
        found = []
        if self.fvu >= WORSE_THAN_MEAN:
            found.append(f"FVU is {self.fvu:.2f}, worse than predicting the mean")
        elif self.fvu >= min(1.0, BEYOND_SINK * self.fvu_mean_and_sink):
            leave = f"which alone leave {self.fvu_mean_and_sink:.3f}"
            found.append(f"FVU is {self.fvu:.3f} without outlier tokens: it reconstructs little but the mean and the sink, {leave}")
        if self.dense_share > DENSE and self.architecture != NEURONS:
            found.append(f"{self.dense_share:.0%} of the features fire on at least half of the tokens")
        elif self.advertised_l0 and not 1 / L0_FACTOR <= self.l0 / self.advertised_l0 <= L0_FACTOR:
            found.append(f"{self.l0:.1f} features fire per token where its settings say {self.advertised_l0:.0f}")
        return found


def examine(subject: Subject, coder: Coder, documents: Sequence[Document], context_tokens: int) -> GateReport:
    """Run the SAE over about 2,000 tokens of `documents`, with and without BOS.

    Raises:
        DataError: the SAE's width is not the model's, a hookpoint is unknown, or there is no text.
    """
    places = hookpoints_of(coder)
    bos = begins_with_bos(coder)
    samples = {with_bos: sample(subject, places, documents, context_tokens, with_bos) for with_bos in (True, False)}
    require_widths(subject, coder, samples[bos])
    fits = {with_bos: fit_sample(coder, samples[with_bos]) for with_bos in samples}
    own, target = fits[bos], samples[bos].tokens[places[-1]]
    usable = samples[bos].usable(places)
    finite = torch.stack([samples[bos].tokens[place].isfinite().all(dim=1).cpu() for place in places]).all(dim=0)
    quantiles = torch.quantile(own.density.float().cpu(), torch.tensor(_QUANTILES)).tolist()
    return GateReport(
        name=coder.name,
        architecture=coder.architecture,
        rule=rule_of(coder),
        d_in=coder.d_in,
        d_sae=coder.d_sae,
        d_out=coder.d_out,
        hookpoint=coder.hookpoint,
        hookpoint_resolved=str(subject.resolve(coder.hookpoint)),
        hookpoint_out=coder.hookpoint_out,
        hookpoint_out_resolved=None if coder.hookpoint_out is None else str(subject.resolve(coder.hookpoint_out)),
        number_format=subject.number_format,
        bos=bos,
        bos_said=coder.prepend_bos,
        n_tokens=int(usable.sum()),
        n_first=len(samples[bos].first[places[0]]),
        n_excluded=int((finite & ~usable).sum()),
        n_not_finite=int((~finite).sum()),
        excluded_variance_share=_excluded_variance(target, samples[bos].first[places[-1]], usable),
        norm_limit=samples[bos].limit(places[0]),
        fvu=own.fvu,
        fvu_median=own.fvu_median,
        fvu_mean_and_sink=mean_and_sink_fvu(target[usable.to(target.device)]),
        fvu_with_bos=fits[True].fvu,
        fvu_without_bos=fits[False].fvu,
        l0=own.l0,
        advertised_l0=coder.advertised_l0,
        density={str(share): value for share, value in zip(_QUANTILES, quantiles, strict=True)},
        silent_share=(own.density == 0).float().mean().item(),
        dense_share=(own.density >= DENSE).float().mean().item(),
    )


def begins_with_bos(coder: Coder) -> bool:
    """Whether its contexts begin with BOS: unless its files say no."""
    return coder.prepend_bos is not False


def hookpoints_of(coder: Coder) -> list[str]:
    """Where it reads and, last, where what it reconstructs is found."""
    return list(dict.fromkeys([coder.hookpoint, coder.hookpoint_out or coder.hookpoint]))


def fit_sample(coder: Coder, tokens: Sample) -> Fit:
    """How it does on the usable tokens of a sample."""
    places = hookpoints_of(coder)
    x, target = (tokens.tokens[place] for place in (places[0], places[-1]))
    usable = tokens.usable(places).to(x.device)
    return fit(coder, x[usable], target[usable.to(target.device)])


def require_widths(subject: Subject, coder: Coder, tokens: Sample) -> None:
    """Refuse an SAE that cannot be run on the model.

    Raises:
        DataError: with both widths.
    """
    places = hookpoints_of(coder)
    for verb, place, own in (("reads", places[0], coder.d_in), ("reconstructs", places[-1], coder.d_out)):
        width = tokens.tokens[place].shape[1]
        if width != own:
            swapped = "; its matrices seem to be transposed" if width == coder.d_sae else ""
            raise DataError(
                f"the SAE '{coder.name}' {verb} activations {own} wide, but '{place}' of '{subject.name}' is {width} wide; it was "
                f"trained on another model or hookpoint{swapped}"
            )


def rule_of(coder: Coder) -> str:
    """How it encodes, in words."""
    if not isinstance(coder, SparseCoder):
        return f"{coder.architecture}, both signs of each one's activation"
    x = "x" if coder.normalisation == "none" else f"x normalised ({coder.normalisation})"
    x = f"({x} − b_dec)" if coder.subtract_b_dec else x
    pre = f"{x} W_enc + b_enc"
    largest = "largest" if coder.decoder_norm == "none" else "largest, weighed by their decoder rows' norms,"
    rules = {
        "relu": f"{pre} where positive",
        "jumprelu": f"{pre} where above the feature's threshold",
        "topk": f"the {coder.k} {largest} of {pre}, where positive",
        "groupmax": f"the largest of each of {coder.k} groups of {pre}, where positive",
        "gated": f"{x} W_enc · exp(r_mag) + b_enc where {x} W_enc + b_gate is positive",
    }
    return f"{coder.architecture}, {rules[coder.architecture]}" + ("" if coder.W_skip is None else ", and a linear path past it")


def _place(written: str, resolved: str) -> str:
    return written if written == resolved else f"{written}, which is {resolved}"


def _excluded_variance(target: torch.Tensor, first: torch.Tensor, usable: torch.Tensor) -> float:
    kept = target[usable.to(target.device)]
    everything = torch.cat([target, first])
    everything = everything[everything.isfinite().all(dim=1)]
    spreads = [(x - x.mean(0)).square().sum().item() for x in (kept, everything)]
    return max(0.0, 1 - spreads[0] / spreads[1]) if spreads[1] else 0.0
