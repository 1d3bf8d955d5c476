"""Backbones, temporal heads and recurrent networks that return logits, features and maps."""

from evenface.models.backbone import Network, Outputs
from evenface.models.build import build_network
from evenface.models.temporal import ClipNetwork

__all__ = ["ClipNetwork", "Network", "Outputs", "build_network"]
