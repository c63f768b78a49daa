"""Velocity, diffusion and growth from a trace, candidate laws, line fits and bootstrap."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infomech._core import checks, safe_math
from infomech._core import status as status_codes
from infomech._rollout import Trace


class Status(status_codes.Code):
    """Why a rate is missing; `reason` says it in words."""

    OK = 0, "ok"
    SHORT = 1, "fit window too short: fewer than three observations at or after burn_in"
    DEAD = 2, "the field died: nothing is left within the fit window"
    TOUCHED = 3, "the pattern touched the boundary before the end of the fit window"
    OVERFLOW = 4, "the numbers overflowed within the fit window"
    NO_GROWTH = 5, "no growth of the covariance to fit"
    CANCELED = (
        6,
        "positive and negative values cancel: the remaining mass is lost in rounding errors",
    )


#: rates are refused if |Σ u|/Σ |u| falls below this many rounding errors of the dtype
MIN_BALANCE = 1e5
#: a rate is unsteady if its halves differ by more than this many standard errors,
MAX_ERRORS = 4
#: by more than this fraction of the largest component of the rate,
MAX_CHANGE = 1e-3
#: and by more than this many rounding errors of the dtype over the length of a half
MAX_ROUNDINGS = 8


class Estimate(NamedTuple):
    """A rate fitted to a trace, or NaN and a reason.

    `stderr` assumes independent residuals, and R² is near 1 for any path that goes a long way, so
    neither reveals a curved path. `halves` and `steady` do: the rate is fitted again to the first
    and to the second half of the fit window. It is steady unless the two differ by more than
    `MAX_ERRORS` standard errors of the difference (from the residuals of both lines), by more than
    `MAX_CHANGE` of the largest component of the rate, and by more than `MAX_ROUNDINGS` · rounding
    error / length of a half. The second limit ignores negligible changes, the third ignores
    rounding: exactly linear motion is steady.

    Attributes:
        value: the rate; NaN where it is refused.
        stderr: standard error of `value` from the residuals of the straight line, assumed
            independent; same shape.
        r_squared: R² of the straight line, same shape; NaN where the path is constant up to
            rounding and has no variance to explain.
        halves: the rate in the first and second half of the fit window, (2, *shape); NaN if a half
            has fewer than three observations.
        steady: whether the halves agree, same shape; true if a half has fewer than three
            observations, false where the rate is refused.
        status: a `Status`, `Status.OK` if the fit is good; shape ().
    """

    value: jax.Array
    stderr: jax.Array
    r_squared: jax.Array
    halves: jax.Array
    steady: jax.Array
    status: jax.Array

    @property
    def reason(self) -> str | list[str]:
        """`status` in words: a string, or a list of strings for a batch. Not for use under jit."""
        return status_codes.reason(Status, self.status)


class Growth(NamedTuple):
    """The power law σ(t)² − σ(0)² = (prefactor · t^exponent)², values (d,); see `growth`."""

    exponent: Estimate
    prefactor: Estimate


class Line(NamedTuple):
    """A least-squares line y = slope · x + intercept; see `fit_line`.

    Attributes:
        slope, intercept: shape ().
        r_squared: 1 − Σ residuals² / Σ (y − ȳ)², shape (); NaN for a constant y.
        residuals: y − slope · x − intercept, of the shape of y; 0 for excluded points.
    """

    slope: jax.Array
    intercept: jax.Array
    r_squared: jax.Array
    residuals: jax.Array


def velocity(trace: Trace, burn_in: Any = 0, *, edge_tolerance: float = 1e-6) -> Estimate:
    """Velocity of the center in pixels per layer: slope of the least-squares line through c_t.

    Args:
        trace: of one rollout; batch with `jax.vmap`.
        burn_in: first layer of the fit.
        edge_tolerance: largest accepted share of mass at the boundary, from layer 0 on.

    Returns:
        `Estimate` with value (d,). NaN, with the reason in `status`, if the pattern touched the
        boundary, the field died, the numbers overflowed, positive and negative values canceled, or
        fewer than 3 observations remain.

    Raises:
        ValueError: `trace` is not a `Trace`.
    """
    center, used = _checked(trace).center, _from(trace, burn_in)
    # the center is a mean of positions over the pattern, and has their rounding errors
    spread = jnp.sqrt(_largest(trace.covariance, used))
    return _rate(trace, center, burn_in, edge_tolerance, _largest(center, used) + spread)


def diffusion(trace: Trace, burn_in: Any = 0, *, edge_tolerance: float = 1e-6) -> Estimate:
    """Growth of the covariance in pixels² per layer: slope of the line through C_t; value (d, d).

    Arguments, refusals and errors as for `velocity`.
    """
    covariance = _checked(trace).covariance
    size = _largest(covariance, _from(trace, burn_in))
    return _rate(trace, covariance, burn_in, edge_tolerance, size)


def growth(trace: Trace, burn_in: Any = 0, *, edge_tolerance: float = 1e-6) -> Growth:
    """Exponent and prefactor of the spread, σ(t)² − σ(0)² = (prefactor · t^exponent)², per axis.

    Fitted as a straight line in logarithms. Under repeated even filtering the exponent is ½ and
    the prefactor σ₁ (`infomech.theory.step_spread` for a box of equal taps).

    Arguments and errors as for `velocity`.

    Returns:
        `Growth` of two `Estimate`s with value (d,), exponent dimensionless and prefactor in
        pixels per layer^exponent; refused as for `velocity`, and where the covariance doesn't grow.
    """
    variance = jnp.diagonal(_checked(trace).covariance, axis1=-2, axis2=-1)
    gained = variance[1:] - variance[:1]
    layer = trace.layer[1:].astype(gained.dtype)
    used = _from(trace, burn_in)[1:]
    status = _status(trace, burn_in, jnp.sum(used), edge_tolerance)
    grows = jnp.all(jnp.where(used[:, None], gained, 1) > 0)
    status = jnp.where((status == Status.OK) & ~grows, Status.NO_GROWTH, status)
    fitted = used & (status == Status.OK)
    log_gained = 0.5 * jnp.log(jnp.where(fitted[:, None], gained, 1))
    line, slope_error, intercept_error = _lines(jnp.log(layer), log_gained, fitted)
    # size whose rounding errors are those of the variance relative to its growth
    size = _largest(safe_math.divide(variance[1:], jnp.where(fitted[:, None], gained, 1)), fitted)
    first, second, steady = _halves(jnp.log(layer), log_gained, fitted, size)
    prefactor = jnp.exp(line.intercept)
    return Growth(
        _estimate(
            line.slope,
            slope_error,
            line.r_squared,
            jnp.stack([first.slope, second.slope]),
            steady,
            status,
        ),
        _estimate(
            prefactor,
            prefactor * intercept_error,
            line.r_squared,
            jnp.exp(jnp.stack([first.intercept, second.intercept])),
            steady,
            status,
        ),
    )


def candidates(share: Any) -> dict[str, jax.Array]:
    """Possible readings of "the ratio of odd to total energy", as functions of the odd share ε.

    They are ε itself, √ε = ‖k_o‖/‖k‖, tan θ = ‖k_o‖/‖k_e‖ = √(ε/(1 − ε)), infinite at ε = 1, and
    the mixing ratio β = ‖k_o‖/(‖k_o‖ + ‖k_e‖).

    Args:
        share: ε in [0, 1], any shape.

    Returns:
        Dictionary "share", "sqrt_share", "tangent", "ratio" of arrays of that shape, dimensionless.

    Raises:
        ValueError: a share outside [0, 1].
    """
    checks.in_unit_interval("share", share)
    share = checks.floating("share", share)
    odd, even = safe_math.sqrt(share), safe_math.sqrt(1 - share)
    tangent = jnp.where(even > 0, odd / jnp.where(even > 0, even, 1), jnp.inf)
    return {"share": share, "sqrt_share": odd, "tangent": tangent, "ratio": odd / (odd + even)}


def fit_line(x: Any, y: Any, where: Any = None) -> Line:
    """Least-squares line through the points where x and y are finite and `where` is true.

    Args:
        x, y: vectors (n,).
        where: mask (n,), or None for all points.

    Returns:
        `Line`; NaN if fewer than two points or a single x remain.

    Raises:
        ValueError: x and y are not vectors of equal length.
    """
    x, y, used, units = _points(x, y, where)
    line, _, _ = _lines(x, y[:, None], used)
    line = Line(line.slope[0], line.intercept[0], line.r_squared[0], line.residuals[:, 0])
    return _in_units(line, units)


def bootstrap(
    x: Any, y: Any, where: Any = None, *, key: jax.Array, resamples: int = 1000, level: float = 0.95
) -> Line:
    """Bootstrap percentile intervals of slope, intercept, R² and residuals of `fit_line`.

    Args:
        x, y, where: as for `fit_line`.
        key: typed key, `jax.random.key`.
        resamples: number of bootstrap draws of the points, with replacement.
        level: coverage of the intervals, in (0, 1).

    Returns:
        `Line` of intervals (low, high): shape (2,), and (2, n) for `residuals`.

    Raises:
        ValueError: as for `fit_line`; `resamples` < 1; `level` outside (0, 1).
    """
    checks.integer("resamples", resamples, 1)
    if not 0 < level < 1:
        raise checks.error("level", level, "a number between 0 and 1")
    x, y, used, units = _points(x, y, where)
    # draw only among the points in use
    logits = jnp.where(used, 0.0, -jnp.inf)
    drawn = jax.random.categorical(key, logits, shape=(resamples, x.shape[0]))
    count = jnp.sum(used)

    def refit(indices):
        first = jnp.arange(x.shape[0]) < count
        return _lines(x[indices], y[indices][:, None], first)[0]

    lines = jax.vmap(refit)(drawn)
    residuals = y[None] - lines.slope * x[None] - lines.intercept
    tails = jnp.asarray([(1 - level) / 2, (1 + level) / 2], x.dtype)
    low_high = [
        jnp.nanquantile(a, tails, axis=0)
        for a in (lines.slope[:, 0], lines.intercept[:, 0], lines.r_squared[:, 0], residuals)
    ]
    return _in_units(Line(*low_high), units)


def _checked(trace: Any) -> Trace:
    if not isinstance(trace, Trace):
        raise checks.error("trace", type(trace).__name__, "the Trace of a rollout")
    checks.unmasked("trace", trace)
    return trace


def _points(x: Any, y: Any, where: Any) -> tuple[jax.Array, jax.Array, jax.Array, Any]:
    """Points divided by their units (squares then keep precision), the mask in use, the units."""
    x, y = checks.floating("x", x), checks.floating("y", y)
    if x.ndim != 1 or x.shape != y.shape:
        raise checks.error("x, y", f"shapes {x.shape} and {y.shape}", "two vectors of equal length")
    dtype = safe_math.wider(x.dtype, y.dtype)
    used = jnp.isfinite(x) & jnp.isfinite(y)
    if where is not None:
        checks.unmasked("where", where)
        mask = jnp.asarray(where, bool)
        if mask.shape != x.shape:
            raise checks.error("where", f"shape {mask.shape}", f"{x.shape}")
        used = used & mask
    x, y = x.astype(dtype), y.astype(dtype)
    units = [safe_math.magnitude(jnp.where(used, values, 0)) for values in (x, y)]
    return x / units[0], y / units[1], used, units


def _in_units(line: Line, units: Any) -> Line:
    x, y = units
    return Line(line.slope / x * y, line.intercept * y, line.r_squared, line.residuals * y)


def _from(trace, burn_in):
    """Mask of the observations at or after layer `burn_in`."""
    checks.unmasked("burn_in", burn_in)
    layer = trace.layer.astype(trace.edge.dtype)
    return layer >= jnp.asarray(burn_in, layer.dtype)


def _status(trace, burn_in, count, edge_tolerance):
    used = _from(trace, burn_in)
    dead = jnp.any(used & jnp.isneginf(trace.log_energy))
    finite = (
        jnp.all(jnp.isfinite(trace.center), axis=-1)
        & jnp.all(jnp.isfinite(trace.covariance), axis=(-2, -1))
        & jnp.isfinite(trace.log_energy)
    )
    touched = jnp.any(jnp.maximum(trace.edge, trace.cut) > edge_tolerance)
    min_balance = MIN_BALANCE * jnp.finfo(trace.balance.dtype).eps
    # includes exact cancellation to 0, where the center is NaN
    canceled = used & (trace.balance < min_balance) & jnp.isfinite(trace.log_energy)
    status = jnp.where(jnp.any(used & ~finite), Status.OVERFLOW, Status.OK)
    status = jnp.where(jnp.any(canceled), Status.CANCELED, status)
    status = jnp.where(touched, Status.TOUCHED, status)
    status = jnp.where(dead, Status.DEAD, status)
    return jnp.where(count < 3, Status.SHORT, status)


def _largest(values, used):
    """max |values| over the observations in use, without gradient; 0 if there are none."""
    used = used.reshape(used.shape + (1,) * (values.ndim - 1))
    return jax.lax.stop_gradient(jnp.max(jnp.where(used, jnp.abs(values), 0)))


def _rate(trace, path, burn_in, edge_tolerance, size):
    """Slope of the line through a path with rounding errors of numbers of `size`."""
    used = _from(trace, burn_in)
    status = _status(trace, burn_in, jnp.sum(used), edge_tolerance)
    fitted = used & (status == Status.OK)
    # relative to the first entry: a pattern far from position 0 loses no digits
    relative = path - jax.lax.stop_gradient(jnp.where(jnp.isfinite(path[:1]), path[:1], 0))
    flat, layer = relative.reshape(path.shape[0], -1), trace.layer.astype(path.dtype)
    line, error, _ = _lines(layer, flat, fitted, size)
    first, second, steady = _halves(layer, flat, fitted, size)
    halves = jnp.stack([first.slope, second.slope]).reshape(2, *path.shape[1:])
    slope, error, r_squared, steady = (
        values.reshape(path.shape[1:]) for values in (line.slope, error, line.r_squared, steady)
    )
    return _estimate(slope, error, r_squared, halves, steady, status)


def _estimate(value, stderr, r_squared, halves, steady, status):
    ok = status == Status.OK
    value, stderr, r_squared, halves = (
        jnp.where(ok, x, jnp.nan) for x in (value, stderr, r_squared, halves)
    )
    return Estimate(value, stderr, r_squared, halves, ok & steady, status)


def _halves(x, y, used, size):
    """Lines through both halves of the points in use, and whether they agree; see `Estimate`."""
    rank, n = jnp.cumsum(used), jnp.sum(used)
    parts = [used & (rank <= n // 2), used & (rank > n // 2)]
    enough = n // 2 >= 3
    lines = [_lines(x, y, part & enough, size)[0] for part in parts]
    rss = sum(jnp.sum(line.residuals**2, axis=0) for line in lines)
    change = lines[1].slope - lines[0].slope
    inverses, lengths = [], []
    for part in parts:
        m = jnp.where(enough, jnp.sum(part), 1).astype(y.dtype)
        sxx = jnp.sum(jnp.where(part, x - jnp.sum(jnp.where(part, x, 0)) / m, 0) ** 2)
        inverses.append(1 / jnp.where(enough, sxx, 1))
        low = jnp.min(jnp.where(part, x, jnp.inf))
        lengths.append(jnp.max(jnp.where(part, x, low)) - low)
    variance = rss / jnp.where(enough, n - 4, 1).astype(y.dtype) * (inverses[0] + inverses[1])
    length = jnp.minimum(*lengths)
    fastest = jnp.maximum(*(jnp.max(jnp.abs(line.slope)) for line in lines))
    rounding = MAX_ROUNDINGS * jnp.finfo(y.dtype).eps * size / jnp.where(enough, length, 1)
    floor = jnp.maximum(MAX_CHANGE * fastest, rounding)
    differs = (change**2 > MAX_ERRORS**2 * variance) & (jnp.abs(change) > floor)
    return *lines, ~(enough & differs)


def _lines(x, y, used, size=0):
    """Lines through each column of y, with the standard errors of slope and intercept.

    A column counts as constant if it varies by no more than rounding errors of its own size, or of
    `size`.
    """
    weight = used.astype(y.dtype)
    x = jnp.where(used, x, 0)
    y = jnp.where(used[:, None], y, 0)
    n = jnp.sum(weight)
    safe_n = jnp.where(n > 0, n, 1)
    x_mean, y_mean = jnp.sum(x) / safe_n, jnp.sum(y, axis=0) / safe_n
    dx, dy = (x - x_mean) * weight, (y - y_mean[None]) * weight[:, None]
    sxx = jnp.sum(dx**2)
    defined = (n >= 2) & (sxx > _rounding(x, n))
    safe_sxx = jnp.where(defined, sxx, 1)
    slope = jnp.where(defined, jnp.sum(dx[:, None] * dy, axis=0) / safe_sxx, jnp.nan)
    residuals = jnp.where(used[:, None], dy - slope[None] * dx[:, None], 0)
    rss, tss = jnp.sum(residuals**2, axis=0), jnp.sum(dy**2, axis=0)
    varies = defined & (tss > _rounding(y, n, size))
    r_squared = 1 - safe_math.divide(rss, jnp.where(varies, tss, 0))
    variance = rss / jnp.where(n > 2, n - 2, 1)
    noise = jnp.where(defined & (n > 2), safe_math.sqrt(variance), jnp.nan)
    line = Line(slope, y_mean - slope * x_mean, r_squared, residuals)
    return line, noise / jnp.sqrt(safe_sxx), noise * jnp.sqrt(1 / safe_n + x_mean**2 / safe_sxx)


def _rounding(values, n, size=0):
    """Largest sum of squared deviations of n equal values due to rounding, for each column."""
    size = jnp.maximum(jnp.max(jnp.abs(values), axis=0), size)
    return n * (4 * jnp.finfo(values.dtype).eps * size) ** 2
