"""Opens activation files by their kind. A new kind is one new module and one line in `KINDS`."""

from collections.abc import Callable
from dataclasses import replace

from autolabel.config import SourceSettings
from autolabel.errors import DataError
from autolabel.evidence.sources.activations import open_activations
from autolabel.evidence.sources.base import ActivationFiles
from autolabel.evidence.sources.delphi import open_delphi
from autolabel.evidence.sources.neuronpedia import open_neuronpedia
from autolabel.evidence.sources.reading import Source
from autolabel.evidence.texts.records import cleaned

KINDS: dict[str, Callable[[SourceSettings], Source]] = {
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
    try:
        source = KINDS[settings.kind](settings)
    except OSError as error:
        raise DataError(f"cannot read '{error.filename or settings.path}': {error.strerror or error}") from None
    model = source.subject_model and cleaned(source.subject_model)
    return replace(source, name=cleaned(source.name), subject_model=model)
