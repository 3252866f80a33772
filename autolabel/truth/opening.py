"""Protocols of others, by the name they have in the tables."""

from autolabel.records import ChatModel
from autolabel.truth.built import Built
from autolabel.truth.peers.base import Peer
from autolabel.truth.peers.delphi import Delphi
from autolabel.truth.peers.neuronpedia import Neuronpedia
from autolabel.truth.peers.saebench import SaeBench

PEERS = ("delphi", "delphi_fuzz", "neuronpedia", "saebench")


def open_peer(name: str, built: Built, model: ChatModel) -> Peer:
    """The protocol called `name`, over a benchmark's features."""
    given = (built.world, built.firings.by_feature, model, built.evidence_set_id, built.sae_id, built.settings.seed)
    if name.startswith("delphi"):
        return Delphi(*given, scorer="fuzz" if name == "delphi_fuzz" else "detection")
    return Neuronpedia(*given) if name == "neuronpedia" else SaeBench(*given)
