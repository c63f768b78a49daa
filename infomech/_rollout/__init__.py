"""Rollouts: iterate convolution and rectifier, and observe the field between layers."""

from infomech._rollout.run import Trace, layer, rollout

__all__ = ["Trace", "layer", "rollout"]
