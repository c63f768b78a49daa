"""Which odd shares of kernel energy are compatible with a given speed?

This is the converse of the speed law: if speed were a function of the odd share ε, each speed v
would determine ε. Instead there is a range between two frontiers, the smallest and the largest ε of
all kernels that move at v.

Three taps (a, b, c) on one axis, non-negative and of sum 1, have a closed form. With v = c − a ≥ 0
and q = a + c, which lies in [v, 1], the odd energy is v²/2 and the even energy is
f(q) = q²/2 + (1 − q)², hence ε = v²/2 / (v²/2 + f(q)). f is convex with minimum 1/3 at q = 2/3:

    largest ε  = v² / (v² + 2/3)        up to v = 2/3, at q = 2/3: constant + gradient
               = v²/2 / (v² + (1−v)²)   beyond, at q = v: no tap behind
    smallest ε = v²/2 / (v² + (1−v)²)   up to v = 1/3, at q = v: no tap behind
               = v² / (v² + 1)          beyond, at q = 1: no tap in the middle

The highest speed is 1, where a single tap remains and ε = 1/2.

With taps of both signs and an active ReLU not even these bounds hold. Under (a, −B, c) with
a, c > 0 and a large B, a pattern goes dark except for the pixels just outside of it. From then on
no two neighbors are lit at the same time: −B extinguishes lit pixels, and dark pixels receive a and
c from either side. The taps a and c thus move the pattern at v = (c − a)/(c + a), however large B
is. B is even energy without any effect, hence the smallest odd share at any speed below 1 is 0:
energy shares alone do not determine the speed of a kernel, and the published law is a law of the
constant + gradient family.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import infomech as im
from experiments import ledger
from experiments.ledger import Finding, Number
from infomech import design, losses, plot
from infomech._core import files, safe_math
from infomech.design.parametrizations import Parametrization

STATEMENT = "The speed determines the odd share of the kernel energy."
SOURCE = "arXiv 2512.24338, converse"
CLAIMS = (5,)
#: fixed before any run: tolerance on the speed, in pixels per layer, in the third and in the last
#: quarter of the layers
SPEED_TOLERANCE = 1e-3
#: fixed before any run: shares that differ by at most this count as equal
ONE_SHARE = 0.01
#: weights of the speed relative to the share, in successive stages
_WEIGHTS = (1e2, 1e6)

#: k = θ², which lets a tap become 0
squares = Parametrization("squares", jnp.square, lambda taps: safe_math.sqrt(jnp.abs(taps)))
FAMILIES = {"non-negative": squares, "any": design.parametrizations.taps}


@dataclass(frozen=True)
class FrontierSettings:
    """Set of kernels, and how their speed is measured.

    Attributes:
        shape: taps on each axis; the motion is along the last.
        family: "non-negative" or "any".
        rectifier: "relu" or "modulus".
        speeds: number of speeds, equally spaced below the highest, (n − 1)/2.
        starts: initial kernels for each speed and each of the two frontiers.
        steps: layers.
    """

    shape: tuple[int, ...]
    family: str
    rectifier: str
    speeds: int = 8
    starts: int = 10
    steps: int = 32

    @property
    def limit(self) -> float:
        """Highest speed, in pixels per layer: that of a single outermost tap."""
        return (self.shape[-1] - 1) / 2

    @property
    def title(self) -> str:
        """Short description."""
        taps = " x ".join(map(str, self.shape)) + " taps"
        kind = "non-negative" if self.family == "non-negative" else self.rectifier
        return f"{taps}, {kind}"


@dataclass(frozen=True)
class Frontier:
    """Smallest and largest odd share found at each speed; NaN where no kernel was found.

    Attributes:
        speed: pixels per layer, (n,).
        share: smallest and largest ε, (2, n).
        kernel: kernels with these shares, (2, n, *taps).
        found: number of starts that reached this speed, (2, n).
    """

    speed: np.ndarray
    share: np.ndarray
    kernel: np.ndarray
    found: np.ndarray


def closed_form(speed: Any) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest ε of three non-negative taps at speeds 0 ≤ v ≤ 1, see above."""
    v = np.asarray(speed, np.float64)
    one_side = v**2 / 2 / (v**2 + (1 - v) ** 2)
    smallest = np.where(v <= 1 / 3, one_side, v**2 / (v**2 + 1))
    largest = np.where(v <= 2 / 3, v**2 / (v**2 + 2 / 3), one_side)
    return smallest, largest


def trace_out(setting: FrontierSettings, *, seed: int = 0) -> Frontier:
    """Best kernels from many starts; kernels beyond them may exist.

    Least squares on the speed, with increasing weight, and the odd or even share of the energy.
    Non-negative kernels on a non-negative pattern keep the rectifier inactive, hence few layers
    determine their speed as well as many.
    """
    steps = 4 if setting.family == "non-negative" else setting.steps
    speeds = setting.limit * np.arange(1, setting.speeds + 1) / (setting.speeds + 1)
    along = np.zeros((2, len(speeds), setting.starts, 2, len(setting.shape)))
    along[..., -1] = speeds[:, None, None]
    velocity = along.reshape(-1, 2, len(setting.shape))
    # minimize the odd share in the first half of the fits, the even share in the second
    selected = np.repeat(np.eye(2), len(velocity) // 2, axis=0)
    with jax.enable_x64(True):
        field, kernels = _field(setting.shape, steps), _starts(setting, len(velocity), seed)
        for weight in _WEIGHTS:
            objective = weight * losses.observable("velocities", _velocities, velocity)
            objective += losses.observable("share", _shares, selected, residual=_selected_share)
            objective += losses.observable("log energy of the kernel", _log_energy, 0.0)
            result = design.fit(
                objective,
                kernels,
                field=field,
                steps=steps,
                rectifier=setting.rectifier,
                family=FAMILIES[setting.family],
                solver="least squares",
                iterations=60,
                batched_loss=True,
            )
            kernels = jnp.asarray(result.kernel)
    return _best(setting, speeds, velocity, result)


def _field(shape, steps):
    """A smooth blob in a domain that layers of this kernel size cannot leave."""
    blob = im.fields.gaussian([9] * len(shape), sigma=1.5, dtype="float64").values
    return im.fields.patterns.padded(np.asarray(blob), shape, steps)


def _starts(setting, count, seed):
    """Non-negative kernels; for family "any", a third with noise and a third with a dark middle."""
    positive, other = jax.random.split(jax.random.key(seed))
    kernels = design.starts(setting.shape, count, key=positive, dtype="float64")
    if setting.family == "non-negative":
        return kernels
    kind = (jnp.arange(count) % 3).reshape(-1, *[1] * len(setting.shape))
    noise = jax.random.normal(other, kernels.shape, "float64") / kernels[0].size
    middle = im.kernels.gaussian(setting.shape, sigma=0.3, dtype="float64")[None]
    return kernels + jnp.where(kind == 1, noise, 0) - jnp.where(kind == 2, 2 * middle, 0)


def _velocities(run):
    """Velocities in the third and the last quarter of the layers, which must agree."""
    center = run.trace.center
    quarter = (len(center) - 1) // 4
    middle, late, last = (center[len(center) - 1 - i * quarter] for i in (2, 1, 0))
    return jnp.stack([late - middle, last - late]) / quarter


def _log_energy(run):
    """Fixes the scale of the kernel, on which speed and shares do not depend."""
    return jnp.log(im.mechanics.energy_momentum(run.kernel).energy)


def _shares(run):
    odd = im.mechanics.energy_momentum(run.kernel).share
    return jnp.stack([odd, 1 - odd])


def _selected_share(shares, selected):
    return safe_math.sqrt(jnp.sum(shares * jnp.asarray(selected, shares.dtype)))


def _best(setting, speeds, velocity, result):
    error = np.abs(result.achieved["velocities"] - velocity).max((1, 2))
    share = result.achieved["share"][:, 0]
    reached = (error <= SPEED_TOLERANCE) & np.isfinite(share)
    share, reached = (a.reshape(2, len(speeds), -1) for a in (share, reached))
    signed = np.where(reached, share * np.array([1, -1])[:, None, None], np.inf)
    index = signed.argmin(2)
    best = np.take_along_axis(np.where(reached, share, np.nan), index[..., None], 2)[..., 0]
    kernel = result.kernel.reshape(*share.shape, *setting.shape)
    rows, columns = np.indices(index.shape)
    return Frontier(speeds, best, kernel[rows, columns, index], reached.sum(2))


def family_curve(setting: FrontierSettings, shares: int = 61) -> tuple[np.ndarray, np.ndarray]:
    """Odd shares of constant + gradient kernels, and their speeds."""
    share = np.linspace(0, 1, shares)
    direction = (0.0,) * (len(setting.shape) - 1) + (1.0,)
    with jax.enable_x64(True):
        field = _field(setting.shape, setting.steps)

        def speed(share):
            kernel = im.kernels.mix(setting.shape, share=share, direction=direction)
            _, trace = im.rollout(kernel, field, setting.steps, rectifier=setting.rectifier)
            return im.rates.velocity(trace, burn_in=setting.steps // 2).value[-1]

        return share, np.asarray(jax.jit(jax.vmap(speed))(jnp.asarray(share)))


def settings(quick: bool, full: bool) -> list[FrontierSettings]:
    """All sizes, non-negative and any taps, with ReLU and the modulus."""
    kinds = [("non-negative", "relu"), ("any", "relu"), ("any", "modulus")]
    if quick:
        return [FrontierSettings((3,), "non-negative", "relu", speeds=3, starts=5)]
    shapes = [*((n,) for n in (range(2, 8) if full else (2, 3, 5))), (3, 3)]
    settings_ = [FrontierSettings(shape, *kind) for shape in shapes for kind in kinds]
    if full:
        settings_ = [replace(s, speeds=12, starts=24) for s in settings_]
    # two-dimensional fields take long
    speeds, starts = (8, 12) if full else (6, 8)
    return [
        replace(s, speeds=speeds, starts=starts, steps=16) if s.shape[1:] else s for s in settings_
    ]


def run(out: Path, *, quick: bool = False, full: bool = False) -> Finding:
    """Trace out the frontiers of 2, 3 and 5 taps and 3 x 3 taps.

    Args:
        out: output folder; created if missing.
        quick: only 3 non-negative taps, with few speeds and starts.
        full: also 4, 6 and 7 taps, more speeds, and more than twice as many starts.

    Returns:
        The widest range of odd shares at one speed, for each setting.

    Raises:
        ValueError: `out` can't be written, or optimistix is not installed.
    """
    out = files.folder(out)
    frontiers, curves = {}, {}
    for setting in tqdm(settings(quick, full), desc="frontier", unit="setting"):
        frontiers[setting] = trace_out(setting)
        if setting.family == "any" and setting.rectifier == "relu":
            curves[setting] = family_curve(setting)
    plot.save(draw(frontiers, curves), out / "frontier.png")
    readings = [reading(setting, frontier) for setting, frontier in frontiers.items()]
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "tolerance": {"speed": SPEED_TOLERANCE, "share": ONE_SHARE},
        "readings": readings,
        "provenance": files.provenance(x64=True),
        "frontiers": [{**asdict(s), **asdict(f)} for s, f in frontiers.items()],
    }
    files.write_text(out / "frontier.json", files.to_json(record) + "\n")
    lines = [f"Claim: {STATEMENT} [{SOURCE}]"]
    lines += [f"  {r['setting']:<28}{r['words']}" for r in readings]
    if any(r["verdict"] == "fails" for r in readings):
        lines.append(
            "The speed does not determine the odd share once kernels differ in more than their "
            "share: the law is\none of families such as constant + gradient. These are the best "
            "of many starts, not proven bounds."
        )
    lines.append(f"figure {out / 'frontier.png'}, numbers {out / 'frontier.json'}")
    determined = [r["setting"] for r in readings if r["verdict"] == ledger.HOLDS]
    return Finding(
        ledger.verdict(r["verdict"] == ledger.HOLDS for r in readings),
        f"Of {len(readings)} sets of kernels, the speed determines the odd share for "
        f"{'; '.join(determined) or 'none'}; for the others it allows a range of shares.",
        "Kernels of each size, non-negative or any, that move a Gaussian blob at given speeds; the "
        "best of many starts, hence the true ranges are at least as wide.",
        tuple(_number(r) for r in readings),
        out / "frontier.png",
        "\n".join(lines),
    )


def _number(reading_):
    name = f"widest range of ε at one speed, {reading_['setting']}"
    if "least" not in reading_:
        return Number(name, None, wanted=f"at most {ONE_SHARE}")
    width = float(reading_["greatest"] - reading_["least"])
    return Number(name, width, wanted=f"at most {ONE_SHARE}", met=width <= ONE_SHARE)


def reading(setting: FrontierSettings, frontier: Frontier) -> dict[str, Any]:
    """Verdict on whether the speed determines the share, at the speed of the widest range."""
    smallest, largest = frontier.share
    width = largest - smallest
    if not np.isfinite(width).any():
        return {"setting": setting.title, "verdict": "nothing found", "words": "nothing found"}
    at = int(np.nanargmax(width))
    verdict = "holds" if width[at] <= ONE_SHARE else "fails"
    words = (
        f"{verdict}: at v = {frontier.speed[at]:.3f}, ε ranges from {smallest[at]:.3f} to "
        f"{largest[at]:.3f}"
    )
    if setting.shape == (3,) and setting.family == "non-negative":
        error = np.nanmax(np.abs(frontier.share - closed_form(frontier.speed)))
        words += f" (closed form to {error:.0e})"
    return {
        "setting": setting.title,
        "verdict": verdict,
        "speed": frontier.speed[at],
        "least": smallest[at],
        "greatest": largest[at],
        "words": words,
    }


def draw(
    frontiers: dict[FrontierSettings, Frontier], curves: dict[FrontierSettings, tuple[Any, Any]]
) -> Figure:
    """One panel per size: range of odd shares against speed, and constant + gradient."""
    shapes = list(dict.fromkeys(setting.shape for setting in frontiers))
    columns = min(4, len(shapes))
    rows = -(-len(shapes) // columns)
    styles = {"relu": ("#D55E00", "^"), "modulus": ("#0072B2", "v")}
    with plot.style():
        figure = Figure(figsize=(3.2 * columns, 3 * rows + 0.6), layout="constrained")
        panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
        for panel in panels[len(shapes) :]:
            panel.set_axis_off()
        for setting, frontier in frontiers.items():
            panel = panels[shapes.index(setting.shape)]
            smallest, largest = frontier.share
            if setting.family == "non-negative":
                panel.fill_between(
                    frontier.speed,
                    smallest,
                    largest,
                    color="#009E73",
                    alpha=0.35,
                    linewidth=0,
                    label="non-negative kernels",
                )
                continue
            color, marker = styles[setting.rectifier]
            style = {"markersize": 3.5, "linewidth": 0.9, "color": color, "marker": marker}
            label = f"any kernel, {setting.rectifier}: smallest and largest found"
            panel.plot(frontier.speed, smallest, label=label, **style)
            panel.plot(frontier.speed, largest, **style)
            if setting.rectifier == "relu":
                share, speed = curves[setting]
                panel.plot(speed, share, "k--", linewidth=1.2, label="constant + gradient, relu")
        for panel, shape in zip(panels, shapes, strict=False):
            panel.set(
                title=" × ".join(map(str, shape)) + " taps",
                xlim=(0, (shape[-1] - 1) / 2),
                ylim=(-0.02, 1.02),
                xlabel="speed v (pixels per layer)",
                ylabel="odd share ε",
            )
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
