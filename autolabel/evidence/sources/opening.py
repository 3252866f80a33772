"""Opens activation files by their kind. A new kind is one new module and one line in `KINDS`."""

from collections.abc import Callable

from autolabel.config import SourceSettings
from autolabel.evidence.sources.activations import open_activations
from autolabel.evidence.sources.base import ActivationFiles
from autolabel.evidence.sources.delphi import open_delphi
from autolabel.evidence.sources.neuronpedia import open_neuronpedia

KINDS: dict[str, Callable[[SourceSettings], ActivationFiles]] = {
    "activations": open_activations,
    "delphi": open_delphi,
    "neuronpedia": open_neuronpedia,
}
"""`SourceSettings.kind` → how to open it."""


def open_source(settings: SourceSettings) -> ActivationFiles:
    """Open the files that the settings name and count their contexts.

    Raises:
        DataError: there are no such files, or they cannot be used.
    """
    return KINDS[settings.kind](settings)
