"""Filters of trained networks: weights from files, their mechanics, and where they move content."""

from infomech.networks import chain, drift, layouts, nulls, receptive, sequential, slices, weights
from infomech.networks.census import census, dominance
from infomech.networks.compare import compare, random_like
from infomech.networks.weights import Entry, Layer, describe, layers

__all__ = [
    "Entry",
    "Layer",
    "census",
    "chain",
    "compare",
    "describe",
    "dominance",
    "drift",
    "layers",
    "layouts",
    "nulls",
    "random_like",
    "receptive",
    "sequential",
    "slices",
    "weights",
]
