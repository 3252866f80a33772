"""What an SAE computes on real tokens of a model: everything that the load gate reports of it."""

from collections.abc import Sequence

import torch

from autolabel.errors import DataError
from autolabel.evidence.corpus import Document
from autolabel.evidence.fit import Sample, fit, mean_and_sink_fvu, sample
from autolabel.evidence.gate_report import DENSE, GateReport
from autolabel.evidence.sae import Coder, SparseCoder
from autolabel.evidence.subject import Subject

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def examine(subject: Subject, coder: Coder, documents: Sequence[Document], context_tokens: int) -> GateReport:
    """Run the SAE over about 2,000 tokens of `documents`, with and without BOS.

    Raises:
        DataError: the SAE's width is not the model's, a hookpoint is unknown, or there is no text.
    """
    places = hookpoints_of(coder)
    bos = begins_with_bos(coder)
    samples = {with_bos: sample(subject, places, documents, context_tokens, with_bos) for with_bos in (True, False)}
    require_widths(subject, coder, samples[bos])
    fits = {with_bos: fit(coder, *usable_pair(coder, samples[with_bos])) for with_bos in samples}
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


def usable_pair(coder: Coder, tokens: Sample) -> tuple[torch.Tensor, torch.Tensor]:
    """What it reads, shape (n_tokens, d_in), and what it is to reconstruct, shape (n_tokens, d_out), of the usable tokens of a sample."""
    places = hookpoints_of(coder)
    x, target = (tokens.tokens[place] for place in (places[0], places[-1]))
    usable = tokens.usable(places).to(x.device)
    return x[usable], target[usable.to(target.device)]


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


def _excluded_variance(target: torch.Tensor, first: torch.Tensor, usable: torch.Tensor) -> float:
    kept = target[usable.to(target.device)]
    everything = torch.cat([target, first])
    everything = everything[everything.isfinite().all(dim=1)]
    spreads = [(x - x.mean(0)).square().sum().item() for x in (kept, everything)]
    return max(0.0, 1 - spreads[0] / spreads[1]) if spreads[1] else 0.0
