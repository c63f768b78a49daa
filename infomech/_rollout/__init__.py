"""The rollout: layers of rectified convolution, observed between layers."""

from infomech._rollout.run import NORMALIZATIONS, Trace, layer, rollout

__all__ = ["NORMALIZATIONS", "Trace", "layer", "rollout"]
