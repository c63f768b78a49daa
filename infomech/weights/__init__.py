"""Convolution weights of trained networks, from files and from live models."""

from infomech.weights import layouts
from infomech.weights._layers import Entry, Layer, describe, layers

__all__ = ["Entry", "Layer", "describe", "layers", "layouts"]
