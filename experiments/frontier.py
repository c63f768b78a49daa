"""With which odd shares of its energy can a kernel move at a given speed?

The law read from the other side: were speed a function of the odd share ε, each speed v would go
with one ε. What there is instead is a range between two frontiers, the least and the greatest ε of
all kernels that move at v.

Three taps (a, b, c) of one axis, non-negative and of sum 1, have a closed form. With v = c − a ≥ 0
and q = a + c, which lies in [v, 1], the odd energy is v²/2 and the even energy is
f(q) = q²/2 + (1 − q)², so ε = v²/2 / (v²/2 + f(q)). f is convex and least at q = 2/3, where it
is 1/3:

    greatest ε = v² / (v² + 2/3)        up to v = 2/3, at q = 2/3: constant + gradient
               = v²/2 / (v² + (1−v)²)   beyond, at q = v: no tap behind
    least ε    = v²/2 / (v² + (1−v)²)   up to v = 1/3, at q = v: no tap behind
               = v² / (v² + 1)          beyond, at q = 1: no tap in the middle

The last speed is 1, where one tap is left and ε = 1/2.

With taps of both signs a working ReLU lets go of even that. Under (a, −B, c) with a, c > 0 and a
large B a pattern goes dark but for the pixels just outside of it. From then on no two neighbors
are lit at a time: −B puts out what was lit, and what was dark takes a and c from either side. So
the two taps a and c move it at v = (c − a)/(c + a), however large B is. B is even energy
that does no work, so the least odd share of any speed below 1 is 0: energy shares alone say nothing
about the speed of a kernel, and the published law is one of the constant + gradient family.
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

STATEMENT = "A speed goes with one odd share of the energy."
SOURCE = "arXiv 2512.24338, read from the other side"
CLAIMS = (5,)
#: fixed before any run: a kernel moves at a speed if it does so within this, in pixels per layer,
#: in the third quarter of the layers and in the last
SPEED_TOLERANCE = 1e-3
#: fixed before any run: shares that differ by no more than this count as one
ONE_SHARE = 0.01
#: weights of the speed beside the share, one stage after the other
_WEIGHTS = (1e2, 1e6)

#: k = θ², so that a tap can become 0
squares = Parametrization("squares", jnp.square, lambda taps: safe_math.sqrt(jnp.abs(taps)))
FAMILIES = {"non-negative": squares, "any": design.parametrizations.taps}


@dataclass(frozen=True)
class FrontierSettings:
    """Which kernels are looked at, and how their speed is measured.

    Attributes:
        shape: taps on each axis; the motion is along the last.
        family: "non-negative" or "any".
        rectifier: "relu" or "modulus".
        speeds: number of speeds, equally spaced below the greatest, (n − 1)/2.
        starts: kernels to start from, for each speed and each of the two frontiers.
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
        """The greatest speed, in pixels per layer: that of a single tap at the end."""
        return (self.shape[-1] - 1) / 2

    @property
    def title(self) -> str:
        """The setting in a few words."""
        taps = " x ".join(map(str, self.shape)) + " taps"
        kind = "non-negative" if self.family == "non-negative" else self.rectifier
        return f"{taps}, {kind}"


@dataclass(frozen=True)
class Frontier:
    """The least and greatest odd share found at each speed; NaN where nothing moves that fast.

    Attributes:
        speed: pixels per layer, (n,).
        share: least and greatest ε, (2, n).
        kernel: that have them, (2, n, *taps).
        found: starts that ended at this speed, (2, n).
    """

    speed: np.ndarray
    share: np.ndarray
    kernel: np.ndarray
    found: np.ndarray


def closed_form(speed: Any) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest ε of three non-negative taps at speeds 0 ≤ v ≤ 1: see above."""
    v = np.asarray(speed, np.float64)
    one_side = v**2 / 2 / (v**2 + (1 - v) ** 2)
    least = np.where(v <= 1 / 3, one_side, v**2 / (v**2 + 1))
    greatest = np.where(v <= 2 / 3, v**2 / (v**2 + 2 / 3), one_side)
    return least, greatest


def trace_out(setting: FrontierSettings, *, seed: int = 0) -> Frontier:
    """The best found of many starts: nothing says that there is no kernel beyond.

    Least squares on the speed, weighted ever more, and the odd or the even share of the energy.
    Non-negative kernels on a non-negative pattern keep the rectifier inactive, so few layers
    determine their speed as well as many.
    """
    steps = 4 if setting.family == "non-negative" else setting.steps
    speeds = setting.limit * np.arange(1, setting.speeds + 1) / (setting.speeds + 1)
    along = np.zeros((2, len(speeds), setting.starts, 2, len(setting.shape)))
    along[..., -1] = speeds[:, None, None]
    velocity = along.reshape(-1, 2, len(setting.shape))
    small = np.repeat(np.eye(2), len(velocity) // 2, axis=0)  # the odd share, then the even one
    with jax.enable_x64(True):
        field, kernels = _field(setting.shape, steps), _starts(setting, len(velocity), seed)
        for weight in _WEIGHTS:
            wish = weight * losses.observable("velocities", _velocities, velocity)
            wish = wish + losses.observable("share", _shares, small, residual=_the_small_one)
            wish = wish + losses.observable("log energy of the kernel", _log_energy, 0.0)
            result = design.fit(
                wish,
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
    """A smooth blob with room for everything that layers of this size can do."""
    blob = im.fields.gaussian([9] * len(shape), sigma=1.5, dtype="float64").values
    return im.fields.patterns.with_room(np.asarray(blob), shape, steps)


def _starts(setting, count, seed):
    """Non-negative kernels; where any may be, for a third each some noise or a dark middle more."""
    positive, other = jax.random.split(jax.random.key(seed))
    kernels = design.starts(setting.shape, count, key=positive, dtype="float64")
    if setting.family == "non-negative":
        return kernels
    kind = (jnp.arange(count) % 3).reshape(-1, *[1] * len(setting.shape))
    noise = jax.random.normal(other, kernels.shape, "float64") / kernels[0].size
    middle = im.kernels.gaussian(setting.shape, sigma=0.3, dtype="float64")[None]
    return kernels + jnp.where(kind == 1, noise, 0) - jnp.where(kind == 2, 2 * middle, 0)


def _velocities(run):
    """Of the third and the last quarter of the layers: only where both agree is it a speed."""
    center = run.trace.center
    quarter = (len(center) - 1) // 4
    middle, late, last = (center[len(center) - 1 - i * quarter] for i in (2, 1, 0))
    return jnp.stack([late - middle, last - late]) / quarter


def _log_energy(run):
    """Speed and shares are the same at any scale, so one has to be chosen."""
    return jnp.log(im.mechanics.energy_momentum(run.kernel).energy)


def _shares(run):
    odd = im.mechanics.energy_momentum(run.kernel).share
    return jnp.stack([odd, 1 - odd])


def _the_small_one(shares, small):
    return safe_math.sqrt(jnp.sum(shares * jnp.asarray(small, shares.dtype)))


def _best(setting, speeds, velocity, result):
    away = np.abs(result.achieved["velocities"] - velocity).max((1, 2))
    share = result.achieved["share"][:, 0]
    there = (away <= SPEED_TOLERANCE) & np.isfinite(share)
    share, there = (a.reshape(2, len(speeds), -1) for a in (share, there))
    signed = np.where(there, share * np.array([1, -1])[:, None, None], np.inf)
    index = signed.argmin(2)
    best = np.take_along_axis(np.where(there, share, np.nan), index[..., None], 2)[..., 0]
    kernel = result.kernel.reshape(*share.shape, *setting.shape)
    rows, columns = np.indices(index.shape)
    return Frontier(speeds, best, kernel[rows, columns, index], there.sum(2))


def family_curve(setting: FrontierSettings, shares: int = 61) -> tuple[np.ndarray, np.ndarray]:
    """Odd shares of constant + gradient kernels and the speeds at which they move."""
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
    """All sizes, non-negative and any taps, under ReLU and the modulus."""
    kinds = [("non-negative", "relu"), ("any", "relu"), ("any", "modulus")]
    if quick:
        return [FrontierSettings((3,), "non-negative", "relu", speeds=3, starts=5)]
    shapes = [*((n,) for n in (range(2, 8) if full else (2, 3, 5))), (3, 3)]
    found = [FrontierSettings(shape, *kind) for shape in shapes for kind in kinds]
    if full:
        found = [replace(s, speeds=12, starts=24) for s in found]
    # fields of two axes take long
    speeds, starts = (8, 12) if full else (6, 8)
    return [replace(s, speeds=speeds, starts=starts, steps=16) if s.shape[1:] else s for s in found]


def run(out: Path, *, quick: bool = False, full: bool = False) -> Finding:
    """Traces out the frontiers of 2, 3 and 5 taps and 3 x 3 taps.

    Args:
        out: folder to write to; made if need be.
        quick: only 3 non-negative taps, with few speeds and starts.
        full: 4, 6 and 7 taps too, at more speeds, from more than twice as many starts.

    Returns:
        The widest range of odd shares that go with one speed, for each setting.

    Raises:
        ValueError: `out` can't be written, or optimistix isn't there.
    """
    out = files.folder(out)
    found, curves = {}, {}
    for setting in tqdm(settings(quick, full), desc="frontier", unit="setting"):
        found[setting] = trace_out(setting)
        if setting.family == "any" and setting.rectifier == "relu":
            curves[setting] = family_curve(setting)
    plot.save(draw(found, curves), out / "frontier.png")
    readings = [reading(setting, frontier) for setting, frontier in found.items()]
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "tolerance": {"speed": SPEED_TOLERANCE, "share": ONE_SHARE},
        "readings": readings,
        "provenance": files.provenance(x64=True),
        "frontiers": [{**asdict(s), **asdict(f)} for s, f in found.items()],
    }
    files.write_text(out / "frontier.json", files.to_json(record) + "\n")
    lines = [f"Claim: {STATEMENT} [{SOURCE}]"]
    lines += [f"  {r['setting']:<28}{r['words']}" for r in readings]
    if any(r["verdict"] == "fails" for r in readings):
        lines.append(
            "A speed doesn't fix the odd share once kernels may differ in more than their share: "
            "the law is one\nof families such as constant + gradient. These are the best found of "
            "many starts, not proven bounds."
        )
    lines.append(f"figure {out / 'frontier.png'}, numbers {out / 'frontier.json'}")
    one = [r["setting"] for r in readings if r["verdict"] == ledger.HOLDS]
    return Finding(
        ledger.verdict(r["verdict"] == ledger.HOLDS for r in readings),
        f"A speed goes with one odd share for {'; '.join(one) or 'none of the sets of kernels'}, "
        f"of {len(readings)} sets looked at; for the others it goes with a range of shares.",
        "Kernels of each size, non-negative or any, that move a Gaussian blob at given speeds; the "
        "best of many starts, so that true ranges are at least as wide.",
        tuple(_number(r) for r in readings),
        out / "frontier.png",
        "\n".join(lines),
    )


def _number(read):
    name = f"widest range of ε at one speed, {read['setting']}"
    if "least" not in read:
        return Number(name, None, wanted=f"at most {ONE_SHARE}")
    wide = float(read["greatest"] - read["least"])
    return Number(name, wide, wanted=f"at most {ONE_SHARE}", met=wide <= ONE_SHARE)


def reading(setting: FrontierSettings, frontier: Frontier) -> dict[str, Any]:
    """Whether a speed goes with one share, where the range is widest, and the verdict in words."""
    least, greatest = frontier.share
    width = greatest - least
    if not np.isfinite(width).any():
        return {"setting": setting.title, "verdict": "nothing found", "words": "nothing found"}
    at = int(np.nanargmax(width))
    verdict = "holds" if width[at] <= ONE_SHARE else "fails"
    words = (
        f"{verdict}: at v = {frontier.speed[at]:.3f} ε from {least[at]:.3f} to {greatest[at]:.3f}"
    )
    if setting.shape == (3,) and setting.family == "non-negative":
        off = np.nanmax(np.abs(frontier.share - closed_form(frontier.speed)))
        words += f" (closed form: off by {off:.0e} at most)"
    return {
        "setting": setting.title,
        "verdict": verdict,
        "speed": frontier.speed[at],
        "least": least[at],
        "greatest": greatest[at],
        "words": words,
    }


def draw(
    found: dict[FrontierSettings, Frontier], curves: dict[FrontierSettings, tuple[Any, Any]]
) -> Figure:
    """A panel for each size: the range of odd shares against speed, and constant + gradient."""
    shapes = list(dict.fromkeys(setting.shape for setting in found))
    columns = min(4, len(shapes))
    rows = -(-len(shapes) // columns)
    looks = {"relu": ("#D55E00", "^"), "modulus": ("#0072B2", "v")}
    with plot.style():
        figure = Figure(figsize=(3.2 * columns, 3 * rows + 0.6), layout="constrained")
        panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
        for panel in panels[len(shapes) :]:
            panel.set_axis_off()
        for setting, frontier in found.items():
            panel = panels[shapes.index(setting.shape)]
            least, greatest = frontier.share
            if setting.family == "non-negative":
                panel.fill_between(
                    frontier.speed,
                    least,
                    greatest,
                    color="#009E73",
                    alpha=0.35,
                    linewidth=0,
                    label="non-negative kernels",
                )
                continue
            color, marker = looks[setting.rectifier]
            look = {"markersize": 3.5, "linewidth": 0.9, "color": color, "marker": marker}
            label = f"any kernel, {setting.rectifier}: least and greatest found"
            panel.plot(frontier.speed, least, label=label, **look)
            panel.plot(frontier.speed, greatest, **look)
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
