"""Rollouts: iterate convolution and rectifier, and observe the field between layers."""

from infomech._rollout.run import NORMALIZATIONS, Trace, layer, rollout

__all__ = ["NORMALIZATIONS", "Trace", "layer", "rollout"]
