"""Filters of trained networks: their mechanics, null models, and the drift of content."""

from infomech.networks import chain, drift, nulls, receptive, sequential, slices
from infomech.networks._census import census, dominance
from infomech.networks._compare import compare, random_like

__all__ = [
    "census",
    "chain",
    "compare",
    "dominance",
    "drift",
    "nulls",
    "random_like",
    "receptive",
    "sequential",
    "slices",
]
