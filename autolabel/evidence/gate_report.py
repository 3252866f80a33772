"""What the load gate found out about an SAE on real tokens, and which of it is nonsense (validity §3)."""

from dataclasses import asdict, dataclass
from typing import Any

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
            return ["FVU is not finite: what it reconstructs holds NaN or infinity, or the tokens do not vary"]
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


def _place(written: str, resolved: str) -> str:
    return written if written == resolved else f"{written}, which is {resolved}"
