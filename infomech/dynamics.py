"""What happens to a field in one layer besides the convolution: rectifier, boundary, normalization.

Rollouts, engines, sweeps, design and commands share this one description.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from infomech import rectifiers
from infomech._core import checks
from infomech.rectifiers import Rectifier, RectifierLike

#: rules for pixels beyond the domain: 0, those of the opposite side, or the mirror image, in which
#: the edge pixel is not repeated. The C engine numbers them in this order.
BOUNDARIES = ("zero", "periodic", "reflect")

#: divisor of the field after each layer: 1, Σ|u|, √Σu² or max|u|
NORMALIZATIONS = ("none", "sum", "l2", "max")


@dataclass(frozen=True)
class Dynamics:
    """The static facts of a layer u ← φ(k * u) / norm.

    Attributes:
        rectifier: φ. A name or a pointwise callable is converted to a `Rectifier`.
        boundary: "zero", "periodic", or "reflect" (mirror image, edge pixel not repeated).
        normalize: "none", "sum" (Σ|u|), "l2" (√Σu²) or "max" (max|u|).

    Raises:
        ValueError: a name is unknown, or the callable is not pointwise.

    Example:
        >>> import infomech as im
        >>> dynamics = im.Dynamics("modulus", boundary="periodic")
        >>> final, trace = im.rollout([0.0, 0.6, 0.4], [0.0, 1.0, 0.0, 0.0], 2, dynamics=dynamics)
        >>> final.values.shape
        (4,)
    """

    rectifier: RectifierLike = "relu"
    boundary: str = "zero"
    normalize: str = "l2"

    def __post_init__(self) -> None:
        """Convert the rectifier and check the names."""
        object.__setattr__(self, "rectifier", rectifiers.get(self.rectifier))
        checks.one_of("boundary", self.boundary, BOUNDARIES)
        checks.one_of("normalize", self.normalize, NORMALIZATIONS)

    @property
    def phi(self) -> Rectifier:
        """The rectifier, converted."""
        assert isinstance(self.rectifier, Rectifier)
        return self.rectifier

    @property
    def rescale(self) -> bool:
        """Whether norms of field and kernels can be factored out and moved to log_gain."""
        return self.phi.homogeneous and self.normalize != "none"

    @property
    def norm_in_layer(self) -> bool:
        """Whether the norm changes what the next layer computes: layers then run one by one."""
        return not self.phi.homogeneous and self.normalize != "none"


def resolve(dynamics: Dynamics | None, **options: Any) -> Dynamics:
    """The given dynamics, or the default ones, with the options that are not None in place.

    Raises:
        ValueError: `dynamics` is no `Dynamics`, or an option is invalid.
    """
    if not isinstance(dynamics, Dynamics | None):
        raise checks.error("dynamics", repr(dynamics), "an infomech.Dynamics, or None")
    given = {name: value for name, value in options.items() if value is not None}
    return dataclasses.replace(dynamics or Dynamics(), **given)
