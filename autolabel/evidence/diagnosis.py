"""Why an SAE does not fit: the mistakes that are easily made in loading one are undone in turn, and what then fits is named.

Every variant is measured on the same few tokens, those that do better than the SAE as it is on more, and only one that also fits on
all of the gate's tokens is spoken of. An SAE that passes is compared with its variants too: read one layer off, it still reconstructs
the stream it was not trained on quite well.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from autolabel.evidence.corpus import Document
from autolabel.evidence.examine import begins_with_bos, examine, hookpoints_of, usable_pair
from autolabel.evidence.fit import Fit, Sample, fit_many, sample
from autolabel.evidence.gate_report import GateReport
from autolabel.evidence.sae import SparseCoder
from autolabel.evidence.subject import Subject

SCREENING_TOKENS = 256
_FIRST_EVERY = 4
"""All variants are tried on every fourth of them: with a wide SAE, encoding for so many is what takes the gate's time."""
_SCREENING_CONTEXT = 128
"""Contexts are cut to this length for it, because activations of every layer are held at once: 0.2 GB for a model of 8 billion."""
FITS_BETTER = 0.85
"""A variant is better when it leaves less than this share of the FVU, in the mean and in the median token. On SmolLM2, layer 12,
reading the layer before or after leaves 1.4 and 1.5 times as much unexplained as its own."""
_CONFIRMED_AT_MOST = 3


@dataclass(frozen=True, slots=True)
class Variant:
    """An SAE read in another way."""

    coder: SparseCoder
    where: str
    """`at layers.12`"""
    remedy: str
    """What to set, as an instruction."""


def diagnose(
    subject: Subject, coder: SparseCoder, documents: Sequence[Document], context_tokens: int, report: GateReport
) -> str | None:
    """What fits clearly better, in one sentence; None when nothing does."""
    if report.n_not_finite:
        return None
    refused = bool(report.problems())
    for variant in _promising(subject, coder, documents, context_tokens, refused):
        found = examine(subject, variant.coder, documents, context_tokens)
        if not found.problems() and _is_better(found, report):
            return f"it fits {variant.where} (FVU {found.fvu:.2f} instead of {report.fvu:.2f}): {variant.remedy}"
    return None


def variants(subject: Subject, coder: SparseCoder) -> Iterator[Variant]:
    """The SAE as it would be without one of the usual mistakes."""
    yield from _without_a_mistake_in_the_rule(coder)
    if coder.hookpoint_out is None:
        for point in (*subject.other_layers(coder.hookpoint), *subject.same_layer(coder.hookpoint)):
            yield Variant(replace(coder, hookpoint=str(point)), f"at {point}", f'set [sae] hookpoint = "{point}"')
        return
    yield from _transcoders_elsewhere(subject, coder, coder.hookpoint_out)


def _without_a_mistake_in_the_rule(coder: SparseCoder) -> Iterator[Variant]:
    if coder.d_in == coder.d_out:
        how = "not subtracted from" if coder.subtract_b_dec else "subtracted from"
        other = replace(coder, subtract_b_dec=not coder.subtract_b_dec)
        yield Variant(other, f"with b_dec {how} the input", _in_the_files(coder, "apply_b_dec_to_input", other.subtract_b_dec))
    if coder.d_in == coder.d_sae:
        encoder = replace(coder, W_enc=coder.W_enc.T.contiguous())
        yield Variant(encoder, "with W_enc transposed", "transpose it in the SAE's file")
    if coder.d_out == coder.d_sae:
        decoder = replace(coder, W_dec=coder.W_dec.T.contiguous())
        yield Variant(decoder, "with W_dec transposed", "transpose it in the SAE's file")
    if coder.d_in == coder.d_out == coder.d_sae:
        both = replace(coder, W_enc=coder.W_enc.T.contiguous(), W_dec=coder.W_dec.T.contiguous())
        yield Variant(both, "with W_enc and W_dec transposed", "transpose both in the SAE's file")
    bos = begins_with_bos(coder)
    where = "without BOS" if bos else "with BOS"
    yield Variant(replace(coder, prepend_bos=not bos), where, _in_the_files(coder, "prepend_bos", not bos))


def _transcoders_elsewhere(subject: Subject, coder: SparseCoder, out: str) -> Iterator[Variant]:
    remedy = "correct the hook names in its files"
    ends = {point.layer: point for point in subject.other_layers(out)}
    for point in subject.other_layers(coder.hookpoint):
        if point.layer in ends:
            moved = replace(coder, hookpoint=str(point), hookpoint_out=str(ends[point.layer]))
            yield Variant(moved, f"from {point} to {ends[point.layer]}", remedy)
    for point in subject.same_layer(coder.hookpoint):
        yield Variant(replace(coder, hookpoint=str(point)), f"reading {point}", f'set [sae] hookpoint = "{point}"')
    for point in subject.same_layer(out):
        yield Variant(replace(coder, hookpoint_out=str(point)), f"reconstructing {point}", remedy)


def _in_the_files(coder: SparseCoder, key: str, value: bool) -> str:
    """SAELens has a key for it; with other formats it follows from the class that the files name, or is not said."""
    if coder.format == "saelens":
        return f'set "{key}": {str(value).lower()} in its cfg.json'
    return "correct that in the SAE's files"


def _promising(
    subject: Subject, coder: SparseCoder, documents: Sequence[Document], context_tokens: int, refused: bool
) -> list[Variant]:
    """The variants that fit a few tokens best, the best first."""
    own_bos = begins_with_bos(coder)
    wanted = [variant for variant in variants(subject, coder) if refused or begins_with_bos(variant.coder) == own_bos]
    places = subject.readable(sorted({place for one in [coder, *(v.coder for v in wanted)] for place in hookpoints_of(one)}))
    candidates = [variant for variant in wanted if set(hookpoints_of(variant.coder)) <= set(places)]
    length = min(context_tokens, _SCREENING_CONTEXT)
    tokens = {own_bos: sample(subject, places, documents, length, own_bos, SCREENING_TOKENS)}
    if refused:
        tokens[not own_bos] = sample(subject, hookpoints_of(coder), documents, length, not own_bos, SCREENING_TOKENS)
    candidates = [variant for variant in candidates if _can_run(variant.coder, tokens[begins_with_bos(variant.coder)])]
    few = {bos: found.every(_FIRST_EVERY) for bos, found in tokens.items()}
    return _best(coder, _best(coder, candidates, few, 1.0), tokens, FITS_BETTER)[:_CONFIRMED_AT_MOST]


def _can_run(coder: SparseCoder, tokens: Sample) -> bool:
    places = hookpoints_of(coder)
    return (tokens.tokens[places[0]].shape[1], tokens.tokens[places[-1]].shape[1]) == (coder.d_in, coder.d_out)


def _best(coder: SparseCoder, candidates: Sequence[Variant], tokens: Mapping[bool, Sample], share: float) -> list[Variant]:
    """Those that leave less than a share of what the SAE leaves unexplained on the tokens, with BOS or without, the best first."""
    alike: defaultdict[tuple[int, int, bool], list[SparseCoder]] = defaultdict(list)
    for one in (coder, *(variant.coder for variant in candidates)):
        alike[id(one.W_enc), id(one.W_dec), one.subtract_b_dec].append(one)
    fits: dict[int, Fit] = {}
    for group in alike.values():
        found = fit_many(group[0], [usable_pair(one, tokens[begins_with_bos(one)]) for one in group])
        fits.update(zip(map(id, group), found, strict=True))
    own = fits[id(coder)]
    better = [
        variant for variant in candidates if fits[id(variant.coder)].fvu < 1 and _is_better(fits[id(variant.coder)], own, share)
    ]
    return sorted(better, key=lambda variant: fits[id(variant.coder)].fvu)


def _is_better(one: Fit | GateReport, other: Fit | GateReport, share: float = FITS_BETTER) -> bool:
    """Anything is better than what is not finite."""
    pairs = ((one.fvu, other.fvu), (one.fvu_median, other.fvu_median))
    return not any(mine >= share * theirs for mine, theirs in pairs)
