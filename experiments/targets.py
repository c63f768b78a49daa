"""Can gradient descent find a kernel for any velocity that kernels of its size can reach?"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

import infomech as im
from experiments import ledger
from experiments.ledger import Finding, Number
from infomech import design, losses, plot
from infomech._core import files

STATEMENT = "Gradient descent with optax finds a kernel for any reachable velocity."
SOURCE = "this project"
CLAIMS = ()
#: fixed before any run: largest error of a velocity, in pixels per layer, and least share of
#: targets within it
TOLERANCE, MIN_SHARE = 1e-3, 0.98


@dataclass(frozen=True)
class TargetsSettings:
    """Settings; a disk of radius 4 starts in the middle of a square domain, with ReLU.

    Attributes:
        targets: number of velocities.
        taps: on each of the two axes.
        pixels: of the domain on each axis.
        steps: layers.
        fastest: targets are uniform in the square |v_y|, |v_x| ≤ this. Kernels reach (taps − 1)/2,
            but the pattern must not touch the boundary.
        rounds: at most, of 50 optimizer steps each.
    """

    targets: int = 1000
    taps: int = 3
    pixels: int = 65
    steps: int = 32
    fastest: float = 0.6
    rounds: int = 6


def reach(setting: TargetsSettings, *, solver: str = "adam", seed: int = 0) -> design.Result:
    """Fit one kernel per target in one vmapped call, each from a random start."""
    draw, first = jax.random.split(jax.random.key(seed))
    shape = (setting.targets, 2)
    velocity = jax.random.uniform(draw, shape, minval=-setting.fastest, maxval=setting.fastest)
    starts = design.starts((setting.taps,) * 2, setting.targets, key=first)
    return design.fit(
        losses.velocity(velocity),
        starts,
        field=im.fields.disk((setting.pixels,) * 2, 4.0),
        steps=setting.steps,
        every=setting.steps // 4,
        solver=solver,
        iterations=(50 if solver == "adam" else 10) * setting.rounds,
        tolerance=(TOLERANCE / 2) ** 2,
        batched_loss=True,
    )


def run(out: Path, *, quick: bool = False, full: bool = False) -> Finding:
    """Fit 1,000 random kernels to 1,000 random velocities.

    Args:
        out: output folder; created if missing.
        quick: 16 targets, fewer layers on a smaller domain.
        full: 10,000 targets.

    Returns:
        How many targets were reached, the run time, and why others were missed.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = TargetsSettings(targets=10_000) if full else TargetsSettings()
    if quick:
        setting = TargetsSettings(targets=16, pixels=33, steps=8, rounds=4)
    begin = time.perf_counter()
    result = reach(setting)
    seconds = time.perf_counter() - begin
    error = np.linalg.norm(result.achieved["velocity"] - result.target["velocity"], axis=1)
    reached = error <= TOLERANCE
    share = np.asarray(jax.vmap(im.mechanics.energy_momentum)(result.kernel).share)
    plot.save(draw(setting, result, error, share), out / "targets.png")
    reasons = {r: result.reason.count(r) for r in sorted(set(result.reason))}
    record = {
        "statement": STATEMENT, "source": SOURCE, "setting": asdict(setting), "seconds": seconds,
        "tolerance": {"velocity": TOLERANCE, "reached": MIN_SHARE}, "reached": reached.mean(),
        "solver": result.solver, "reasons": reasons, "target": result.target["velocity"],
        "achieved": result.achieved["velocity"], "kernels": result.kernel, "odd_share": share,
        "history": result.history, "provenance": files.provenance(),
    }  # fmt: skip
    files.write_text(out / "targets.json", files.to_json(record) + "\n")
    met = bool(reached.mean() >= MIN_SHARE)
    verdict = ledger.verdict([met])
    speed = np.linalg.norm(result.target["velocity"], axis=1)
    near = np.abs(speed - np.median(speed)) < 0.02
    shares = share[reached & near]
    low, high = np.quantile(shares, (0.05, 0.95)) if shares.size else (np.nan, np.nan)
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reached.sum()} of {len(reached)} within {TOLERANCE:g} pixels per layer, "
        f"with {result.solver}, in {seconds:.0f} s including compilation",
        *(f"  {count:>5}  {reason}" for reason, count in reasons.items()),
        f"  odd shares at speeds near {np.median(speed):.2f}: {low:.3f} to {high:.3f} "
        "(5th to 95th percentile)",
        f"figure {out / 'targets.png'}, numbers {out / 'targets.json'}",
    ]
    reached_share = Number(
        "targets reached",
        *ledger.proportion(int(reached.sum()), len(reached)),
        wanted=f"at least {MIN_SHARE} within {TOLERANCE:g} px/layer",
        met=met,
    )
    return Finding(
        verdict,
        f"From random kernels, {reached.mean():.1%} of the random target velocities are reached. "
        f"At speeds near {np.median(speed):.2f} the odd share ranges from {low:.3f} to "
        f"{high:.3f}.",
        f"{setting.targets} velocities up to {setting.fastest:g} pixels per layer along each axis, "
        f"{setting.taps}×{setting.taps} taps, {setting.steps} layers with ReLU, {result.solver}.",
        (reached_share, Number("median miss", float(np.median(error)), unit="px/layer")),
        out / "targets.png",
        "\n".join(lines),
    )


def draw(
    setting: TargetsSettings, result: design.Result, error: np.ndarray, share: np.ndarray
) -> Figure:
    """Convergence, reached and missed targets, and odd share against speed."""
    target, reached = result.target["velocity"], error <= TOLERANCE
    speed = np.linalg.norm(target, axis=1)
    with plot.style():
        figure = Figure(figsize=(11.5, 3.8), layout="constrained")
        progress, plane, shares = figure.subplots(1, 3)
        errors = np.sqrt(np.minimum.accumulate(result.history, axis=0))
        iterations = 50 * np.arange(len(errors))
        for low, high, shade in ((0.0, 1.0, 0.15), (0.05, 0.95, 0.3)):
            band = np.nanquantile(errors, (low, high), axis=1)
            progress.fill_between(
                iterations,
                *np.maximum(band, 1e-9),
                color="#0072B2",
                alpha=shade,
                linewidth=0,
                label=f"{100 * (high - low):.0f} % of the targets",
            )
        progress.plot(iterations, np.nanmedian(errors, axis=1), color="#0072B2", label="median")
        progress.axhline(TOLERANCE, color="black", linestyle="--", linewidth=1, label="tolerance")
        progress.set(
            yscale="log",
            xlabel=f"steps of {result.solver}",
            ylabel="|v − v*| (pixels per layer)",
            title="Convergence",
        )
        progress.legend()
        plane.scatter(
            *target[reached].T[::-1], s=5, color="#009E73", label=f"{reached.sum()} reached"
        )
        plane.scatter(
            *target[~reached].T[::-1],
            s=30,
            marker="x",
            color="#D55E00",
            label=f"{(~reached).sum()} missed",
        )
        plane.set(xlabel="target v along axis 1", ylabel="target v along axis 0", title="Targets")
        plane.set_aspect("equal")
        plane.legend(loc="lower center", bbox_to_anchor=(0.5, -0.32), ncols=2)
        shares.scatter(speed[reached], share[reached], s=5, color="#009E73", label="fitted kernels")
        speeds = np.linspace(0, speed.max(), 100)
        limit = im.theory.step_spread(setting.taps)
        shares.plot(
            speeds,
            speeds**2 / (speeds**2 + limit**2),
            color="black",
            linewidth=1.2,
            label="constant + gradient: v = σ₁ tan θ",
        )
        shares.set(
            xlabel="speed |v*| (pixels per layer)",
            ylabel="odd share ε",
            title="A speed does not fix the odd share",
        )
        shares.legend()
    return figure
