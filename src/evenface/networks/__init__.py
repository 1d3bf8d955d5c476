"""Networks that return logits, features and maps."""

from evenface.networks.backbone import Network, Outputs
from evenface.networks.building import build_network
from evenface.networks.clip import ClipNetwork

__all__ = ["ClipNetwork", "Network", "Outputs", "build_network"]
