"""Filters of trained networks: convolution weights read from files and from live models."""

from infomech.networks import layouts, weights
from infomech.networks.weights import Entry, Layer, describe, layers

__all__ = ["Entry", "Layer", "describe", "layers", "layouts", "weights"]
