"""Test of the speed law: sweeps of the odd share over kernel sizes, rectifiers and settings."""

import functools
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np

from infomech import kernels, rates, rectifiers, theory
from infomech._core import checks
from infomech._rollout import rollout
from infomech.dynamics import BOUNDARIES, NORMALIZATIONS
from infomech.fields import patterns
from infomech.rates import LINEAR_R_SQUARED, SYMBOLS, LawFit, format_r_squared


@dataclass(frozen=True)
class LawConfig:
    """Configuration of a survey: all combinations of the settings, each at equally spaced shares.

    Attributes:
        kernel_size: taps on each axis of the DC + gradient kernels.
        rectifier: names; see `infomech.rectifiers`.
        boundary: zero, periodic or reflect.
        normalize: none, sum, l2 or max.
        direction: of the gradient, one number per axis. Concatenate several directions, such as
            0 1 1 1 for (0, 1) and (1, 1). Empty: the last axis.
        pattern: disk, impulse, gaussian, box, an image file or a photograph such as camera.
        dimensions: of the field, 1 to 3; images have 2.
        shares: number of odd shares, equally spaced from 0 to 1.
        radius: of the disk, half width of the box, two sigma of the gaussian; in pixels.
        steps: number of layers.
        burn_in: first layer of the fits of speed and diffusion.
        dtype: float32 or float64.
        resamples: bootstrap draws behind the intervals.
        seed: of the bootstrap.
    """

    kernel_size: tuple[int, ...] = (2, 3)
    rectifier: tuple[str, ...] = ("relu", "modulus")
    boundary: tuple[str, ...] = ("zero",)
    normalize: tuple[str, ...] = ("l2",)
    direction: tuple[float, ...] = ()
    pattern: tuple[str, ...] = ("disk",)
    dimensions: int = 2
    shares: int = 21
    radius: float = 5.0
    steps: int = 48
    burn_in: int = 16
    dtype: str = "float32"
    resamples: int = 1000
    seed: int = 0

    def check(self) -> None:
        """Raises ValueError naming the first invalid value."""
        for name, known in (
            ("rectifier", rectifiers.names()),
            ("boundary", BOUNDARIES),
            ("normalize", NORMALIZATIONS),
        ):
            for value in getattr(self, name):
                checks.one_of(name, value, known)
        for name in ("kernel_size", "rectifier", "boundary", "normalize", "pattern"):
            if not getattr(self, name):
                raise checks.error(name, "nothing", "at least one")
        for kernel_size in self.kernel_size:
            if not 2 <= checks.integer("kernel_size", kernel_size, 1) <= 15:
                raise checks.error(
                    "kernel_size", kernel_size, "2 to 15 taps: a single tap cannot move anything"
                )
        checks.one_of("dimensions", str(self.dimensions), ("1", "2", "3"))
        checks.one_of("dtype", self.dtype, ("float32", "float64"))
        checks.integer("shares", self.shares, 3)
        checks.integer("steps", self.steps, 1)
        checks.integer("resamples", self.resamples, 1)
        checks.positive("radius", self.radius, self.dtype)
        if not 0 <= self.burn_in <= self.steps - 2:
            raise checks.error("burn_in", self.burn_in, f"0 to {self.steps - 2}: steps less 2")
        _directions(self.direction, self.dimensions)


@dataclass(frozen=True)
class LawSetting:
    """One combination of the settings of a survey."""

    kernel_size: int
    rectifier: str
    boundary: str
    normalize: str
    direction: tuple[float, ...]
    pattern: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """One line for people."""
        taps = "×".join([str(self.kernel_size)] * len(self.shape))
        along = ",".join(f"{x:g}" for x in self.direction)
        return (
            f"{taps} {self.rectifier}, {self.boundary} boundary, normalize {self.normalize}, "
            f"{self.pattern}, along ({along})"
        )


@dataclass(frozen=True)
class Outcome:
    """Result of a survey for one setting; arrays have one entry per odd share.

    Attributes:
        setting: the setting.
        share: odd share ε.
        speed, stderr: along the direction, pixels per layer.
        r_squared, steady: of the speed; see `infomech.rates.Estimate`.
        velocity: (shares, d), pixels per layer.
        contraction: √(D_along/σ₁²), the spread gained along the motion relative to rest.
        theory: predicted speed; NaN where the rectifier is active.
        status: of the speed, an `infomech.rates.Status`.
        inactive_share: the rectifier is inactive up to this share; NaN if it is always active.
        fits: the candidate laws fitted to the speeds.
    """

    setting: LawSetting
    share: np.ndarray
    speed: np.ndarray
    stderr: np.ndarray
    r_squared: np.ndarray
    steady: np.ndarray
    velocity: np.ndarray
    contraction: np.ndarray
    theory: np.ndarray
    status: np.ndarray
    inactive_share: float
    fits: tuple[LawFit, ...] = field(default=())

    @property
    def top(self) -> tuple[float, float]:
        """Largest speed and its share; NaN if no speed was measured."""
        if np.all(np.isnan(self.speed)):
            return math.nan, math.nan
        i = int(np.nanargmax(self.speed))
        return float(self.speed[i]), float(self.share[i])

    def fit(self, law: str, over: str) -> LawFit:
        """Fit of one law over "all" shares, or over those with an "inactive" rectifier."""
        return next(f for f in self.fits if (f.law, f.over) == (law, over))

    @property
    def verdict(self) -> str:
        """One sentence stating which reading of the law holds; R² ≥ 0.99 counts as linear."""
        refused = int(np.sum(self.status != rates.Status.OK))
        full_range = [f for f in self.fits if f.over == "all" and not math.isnan(f.r_squared)]
        if not full_range:
            return f"No speed could be measured: {rates.Status(np.max(self.status)).reason}."
        best = max(full_range, key=lambda f: f.r_squared)
        published = self.fit("share", "all").r_squared
        linear = published >= LINEAR_R_SQUARED
        r_squared = format_r_squared(published, 3)
        text = f"Over the whole range speed is {_linear(published)} in ε (R² {r_squared})"
        if best.law != "share":
            either = "" if linear or best.r_squared >= LINEAR_R_SQUARED else " either"
            text += (
                f"; {SYMBOLS[best.law]} fits best{_without(best)}, and is {_linear(best.r_squared)}"
            )
            text += f"{either} (R² {format_r_squared(best.r_squared, 3)})"
        inactive = self.fit("tangent", "inactive").r_squared
        if not math.isnan(inactive):
            text += (
                f"; while the rectifier is inactive, up to ε = {self.inactive_share:.3f}, speed is"
            )
            text += f" {_linear(inactive)} in tan θ (R² {format_r_squared(inactive)})"
        return text + (f"; {refused} of {len(self.share)} speeds refused." if refused else ".")


def _linear(r_squared: float) -> str:
    return "linear" if r_squared >= LINEAR_R_SQUARED else "not linear"


def _without(fit: LawFit) -> str:
    return " (without ε = 1)" if fit.law == "tangent" else ""


def run(
    config: LawConfig, progress: Callable[[list[LawSetting]], Iterable[LawSetting]] = iter
) -> list[Outcome]:
    """Sweeps the odd share for each setting in one jitted batch, and fits the candidate laws.

    The domain is large enough that the pattern never touches its boundary. A periodic domain is
    twice as large, so the pattern never meets itself.

    Args:
        config: the sweep.
        progress: wraps the list of settings to show progress, as `tqdm.tqdm` does.

    Returns:
        One `Outcome` per setting.

    Raises:
        ValueError: a value of `config` is invalid, or an image is unreadable or used with other
            than two dimensions.
    """
    return [_outcome(config, setting) for setting in progress(settings(config))]


def settings(config: LawConfig) -> list[LawSetting]:
    """All combinations of the settings of `config`, each with the shape of its domain."""
    config.check()
    last_axis = (0.0,) * (config.dimensions - 1) + (1.0,)
    directions = _directions(tuple(config.direction) or last_axis, config.dimensions)
    combinations = []
    for kernel_size, rectifier, boundary, normalize, direction, pattern in itertools.product(
        config.kernel_size,
        config.rectifier,
        config.boundary,
        config.normalize,
        directions,
        config.pattern,
    ):
        taps = (kernel_size,) * config.dimensions
        shape = patterns.padded_shape(_values(config, pattern).shape, taps, config.steps, boundary)
        combinations.append(
            LawSetting(kernel_size, rectifier, boundary, normalize, direction, pattern, shape)
        )
    return combinations


def _outcome(config: LawConfig, setting: LawSetting) -> Outcome:
    share = np.linspace(0, 1, config.shares)
    unit = jnp.asarray(setting.direction, config.dtype)
    taps = (setting.kernel_size,) * config.dimensions
    pattern = _values(config, setting.pattern)
    field = patterns.padded(pattern, taps, config.steps, setting.boundary)
    static = {
        "kernel_size": taps,
        "steps": config.steps,
        "rectifier": setting.rectifier,
        "boundary": setting.boundary,
        "normalize": setting.normalize,
    }
    speed, velocity, diffusion, predicted = _measure(
        jnp.asarray(share, config.dtype), unit, field, config.burn_in, **static
    )
    measured = np.asarray(speed.value)
    inactive_share = rates.inactive_share(
        taps, setting.direction, setting.rectifier, dtype=config.dtype
    )
    rest_diffusion = theory.step_spread(setting.kernel_size) ** 2
    diffusion_along = np.asarray(diffusion.value)
    diffusion_along = np.where(diffusion_along >= 0, diffusion_along, np.nan)
    outcome = Outcome(
        setting=setting,
        share=share,
        speed=measured,
        stderr=np.asarray(speed.stderr),
        r_squared=np.asarray(speed.r_squared),
        steady=np.asarray(speed.steady),
        velocity=np.asarray(velocity.value),
        contraction=np.sqrt(diffusion_along / rest_diffusion),
        theory=np.asarray(predicted),
        status=np.asarray(speed.status),
        inactive_share=inactive_share,
    )
    key = jax.random.key(config.seed)
    fits = rates.fit_laws(share, outcome.speed, inactive_share, key=key, resamples=config.resamples)
    return replace(outcome, fits=fits)


@functools.partial(
    jax.jit, static_argnames=("kernel_size", "steps", "rectifier", "boundary", "normalize")
)
def _measure(shares, unit, field, burn_in, *, kernel_size, steps, rectifier, boundary, normalize):
    """Speed along the direction, velocity, diffusion along the direction, predicted speed."""
    dot = functools.partial(jnp.matmul, precision="highest")

    def measure(share):
        kernel = kernels.mix(kernel_size, share=share, direction=unit, dtype=shares.dtype)
        _, trace = rollout(
            kernel, field, steps, rectifier=rectifier, boundary=boundary, normalize=normalize
        )
        along = replace(
            trace,
            center=dot(trace.center, unit)[:, None],
            covariance=dot(dot(trace.covariance, unit), unit)[:, None, None],
        )
        predicted = dot(theory.predict(kernel, rectifier=rectifier).velocity, unit)
        return (
            jax.tree.map(jnp.squeeze, rates.velocity(along, burn_in)),
            rates.velocity(trace, burn_in),
            jax.tree.map(jnp.squeeze, rates.diffusion(along, burn_in)),
            predicted,
        )

    return jax.vmap(measure)(shares)


def _values(config: LawConfig, pattern: str) -> np.ndarray:
    return patterns.pattern(pattern, config.radius, config.dimensions, config.dtype)


def _directions(numbers: tuple[float, ...], dimensions: int) -> list[tuple[float, ...]]:
    """Unit vectors along one or several concatenated directions."""
    checks.floating("direction", numbers)
    values = np.asarray(numbers, np.float64)
    if values.ndim != 1 or len(values) % dimensions:
        expected = f"{dimensions} numbers for each direction"
        raise checks.error("direction", repr(numbers), expected)
    checks.finite("direction", values)
    vectors = values.reshape(-1, dimensions)
    if not np.all(np.any(vectors, axis=1)):
        raise checks.error("direction", repr(numbers), "nonzero vectors")
    return [tuple((vector / np.linalg.norm(vector)).tolist()) for vector in vectors]
