"""Opens what the settings name as a source of features over a subject model: an SAE, a transcoder, its own neurons."""

from typing import Literal

from autolabel.config import SaeSettings
from autolabel.evidence.sae import Coder, load_sae
from autolabel.evidence.subject import Subject


def open_coder(settings: SaeSettings, subject: Subject) -> Coder:
    """The coder that the settings name.

    Raises:
        DataError: its files cannot be used, or the model has no such place.
    """
    return load_sae(settings.path, settings.hookpoint).to(subject.device)


def kind_of(coder: Coder) -> Literal["sae", "transcoder", "neurons"]:
    """What kind of features a coder gives."""
    if coder.format == "neurons":
        return "neurons"
    return "sae" if coder.hookpoint_out in (None, coder.hookpoint) else "transcoder"
