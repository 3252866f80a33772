"""Opens what the settings name as a source of features over a subject model: an SAE, a transcoder, its own neurons."""

from typing import Literal

from autolabel.config import SaeSettings
from autolabel.errors import DataError
from autolabel.evidence.sae import Coder, load_sae
from autolabel.evidence.sae.neurons import NeuronCoder
from autolabel.evidence.subject import Subject


def open_coder(settings: SaeSettings, subject: Subject) -> Coder:
    """The coder that the settings name.

    Raises:
        DataError: its files cannot be used, the model has no such place, or one is a control and the other is not.
    """
    if settings.kind == "neurons":
        point = subject.resolve(settings.hookpoint or "")
        if point.side != "input":
            raise DataError(
                f"[sae] hookpoint = \"{settings.hookpoint}\" is the {point.side} of '{point.module}'; neurons are what enters a down "
                'projection, for example "layers.3.mlp.down_proj:input"'
            )
        return NeuronCoder.of_module(subject.module_at(str(point)), str(point), subject.name, settings.k)
    coder = load_sae(settings.path, settings.hookpoint, settings.subfolder, settings.hookpoint_out)
    subject.require_weights_of(coder.config, f"the SAE '{coder.name}'")
    return coder.to(subject.device)


def kind_of(coder: Coder) -> Literal["sae", "transcoder", "neurons"]:
    """What kind of features a coder gives."""
    if coder.format == "neurons":
        return "neurons"
    return "sae" if coder.hookpoint_out in (None, coder.hookpoint) else "transcoder"
