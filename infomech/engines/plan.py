"""Choose the engine and the differentiation mode of a rollout, and explain the choice."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from infomech._core import checks, extras
from infomech.dynamics import Dynamics, resolve
from infomech.engines import convolution, devices, native, shifts, spectral, tiles
from infomech.engines.stack import Engine, Run, Stack
from infomech.rectifiers import RectifierLike

#: all engines in order of preference; "auto" chooses the first without an objection
ENGINES = (spectral.ENGINE, native.ENGINE, shifts.ENGINE, convolution.ENGINE, tiles.ENGINE)

#: differentiation modes
GRAD_MODES = ("forward", "checkpointed", "full")


@dataclass(frozen=True)
class Plan:
    """How a rollout would be executed, and why.

    Attributes:
        engine: the chosen engine.
        objections: reason against each other engine that is slower or can't run this.
        grad_mode: the chosen differentiation mode.
        reason: reason for this mode.
        fields: number of fields in memory for a gradient in the taps, by mode.
        memory: memory of the device in bytes.
        bytes: bytes of one field, or of its tile on one device, times the fields in the batch.
        tile: shape of one device's tile of the field.
        exchange: layers between two exchanges of halos; 0 without halos.
    """

    engine: str
    objections: dict[str, str]
    grad_mode: str
    reason: str
    fields: dict[str, int]
    memory: float
    bytes: int
    tile: tuple[int, ...]
    exchange: int

    def __str__(self) -> str:
        """The plan as readable lines."""
        lines = [f"engine     {self.engine}"]
        lines += [f"  not {name:<12} {reason}" for name, reason in self.objections.items()]
        if self.exchange:
            size = " x ".join(map(str, self.tile))
            interval = "each layer" if self.exchange == 1 else f"every {self.exchange} layers"
            lines.append(f"tiles      {size} pixels, halos exchanged {interval}")
        lines.append(f"gradients  {self.grad_mode}: {self.reason}")
        for mode, count in self.fields.items():
            lines.append(f"  {mode:<13}{count} fields, {count * self.bytes / 2**20:.3g} MiB")
        return "\n".join(lines)


def plan(
    kernel_size: Sequence[int],
    shape: Sequence[int],
    steps: int,
    *,
    dynamics: Dynamics | None = None,
    rectifier: RectifierLike | None = None,
    boundary: str | None = None,
    normalize: str | None = None,
    every: int = 0,
    batch: int = 1,
    outputs: int = 1,
    stacked: bool = False,
    dtype: str = "float32",
    engine: str | Engine = "auto",
    platform: str | None = None,
    mesh: Sequence[int] = (),
) -> Plan:
    """Plan how `infomech.rollout` would execute these layers, and why.

    Args:
        kernel_size: shape of the kernel.
        shape: shape of the field, with as many axes.
        steps: number of layers, at least 1.
        dynamics, rectifier, boundary, normalize, engine: as for `rollout`.
        every: layers between observations; 0: none before the final field.
        batch: number of fields under `jax.vmap`.
        outputs: number of scalars to differentiate with respect to the taps.
        stacked: whether each layer has its own kernel.
        dtype: name of the field's and kernel's dtype.
        platform: "cpu", "gpu" or "tpu"; JAX's default backend if None.
        mesh: number of devices along each axis of the field, from the first axis on; () for one
            device.

    Returns:
        `Plan`, whose `str` is readable text.

    Raises:
        ValueError: an argument is out of range, a name is unknown, or the engine can't run this.
        ImportError: `engine="native"` without a C compiler.
    """
    kernel_size, shape = checks.shape("kernel_size", kernel_size), checks.shape("shape", shape)
    if len(kernel_size) != len(shape) or any(
        n > m for n, m in zip(kernel_size, shape, strict=True)
    ):
        raise checks.error(
            "kernel_size", kernel_size, f"{len(shape)} axes, none longer than {shape}"
        )
    steps, every = checks.integer("steps", steps, 1), checks.integer("every", every, 0)
    batch, outputs = checks.integer("batch", batch, 1), checks.integer("outputs", outputs, 1)
    dynamics = resolve(dynamics, rectifier=rectifier, boundary=boundary, normalize=normalize)
    dtype = checks.floating_dtype(dtype).name
    platform = platform or jax.default_backend()
    checks.one_of("platform", platform, ("cpu", "gpu", "tpu"))
    device_mesh = devices.abstract(checks.shape("mesh", mesh) if len(mesh) else ())
    call_steps = 1 if dynamics.norm_in_layer else min(every or steps, steps)
    stack = Stack(shape, kernel_size, call_steps, stacked, dynamics, dtype, device_mesh)
    devices.check(stack)
    chosen = choose(stack, engine, platform)
    others = {e.name: e.why_not_chosen(stack, platform) for e in ENGINES if e != chosen}
    objections = {name: objection for name, objection in others.items() if objection}
    size = batch * _bytes(stack)
    fields = _fields(replace(stack, steps=steps), chosen)
    mode, reason = _grad_mode(fields, size, kernel_size, outputs, stacked)
    exchange = tiles.steps_per_exchange(stack) if device_mesh is not None else 0
    return Plan(
        chosen.name, objections, mode, reason, fields, _memory(), size, stack.tile, exchange
    )


def choose(stack: Stack, engine: str | Engine = "auto", platform: str | None = None) -> Engine:
    """The engine for a stack of layers: the given one, or the first that "auto" may choose.

    Raises:
        ValueError: an unknown engine, or one that can't execute these layers.
        ImportError: the engine needs an extra that is not installed.
    """
    platform = platform or jax.default_backend()
    if engine == "auto":
        return next(e for e in ENGINES if e.available(stack, platform))
    chosen = get(engine)
    objection = chosen.why_not(stack, platform)
    if not objection:
        return chosen
    if chosen.requirement:
        package, extra = chosen.requirement
        if extras.command(extra) in objection:
            raise extras.missing(package, extra, f"engine {chosen.name!r}")
    raise checks.error("engine", f"{chosen.name!r}, which {objection}", "another one, or 'auto'")


def get(engine: str | Engine) -> Engine:
    """The engine with a given name; an `Engine` is returned unchanged.

    Raises:
        ValueError: neither a known name nor an `Engine`.
    """
    if isinstance(engine, Engine):
        return engine
    known = {e.name: e for e in ENGINES}
    checks.one_of("engine", engine, ("auto", *known))
    return known[engine]


def choose_grad_mode(stack: Stack, engine: Engine) -> str:
    """Differentiation mode for one output after `stack.steps` layers."""
    fields = _fields(stack, engine)
    return _grad_mode(fields, _bytes(stack), stack.kernel_size, 1, stack.stacked)[0]


@dataclass(frozen=True)
class Segment:
    """How successive layers without an observation in between are executed.

    Attributes:
        stack: the layers of one call of the engine.
        run: the engine's function.
        interval: number of layers between two fields that reverse mode stores.
    """

    stack: Stack
    run: Run
    interval: int


def segment(stack: Stack, engine: str | Engine, grad_mode: str) -> Segment:
    """Choose the engine for `stack.steps` layers, its function and the stored fields.

    If the norm is part of the layer, each call of the engine runs one layer.
    """
    if stack.dynamics.norm_in_layer:
        stack = replace(stack, steps=1)
    chosen = choose(stack, engine)
    if grad_mode == "full":
        return Segment(stack, chosen.plain, stack.steps)
    return Segment(stack, chosen.run, chosen.segment(stack))


def _bytes(stack: Stack) -> int:
    return math.prod(stack.tile) * jnp.dtype(stack.dtype).itemsize


def _fields(stack: Stack, engine: Engine) -> dict[str, int]:
    """Number of fields in memory for value and gradient, by mode."""
    interval = engine.segment(stack)
    stored = math.ceil(stack.steps / interval)
    if engine.recomputes_layers:
        stored += min(interval, stack.steps)
    return {
        "forward": 3 * (math.prod(stack.kernel_size) + 2),
        "checkpointed": stored + 4,
        "full": 2 * stack.steps,
    }


def _grad_mode(fields, size, kernel_size, outputs, stacked) -> tuple[str, str]:
    """The mode and the reason; costs are in rollouts, as measured by `python -m benchmarks`."""
    taps = math.prod(kernel_size)
    reverse, forward = 4 * outputs, 1 + 3 * taps
    costs = (
        f"reverse mode for {outputs} output{'s' * (outputs > 1)} costs about {reverse} rollouts, "
        f"forward mode for {taps} tap{'s' * (taps > 1)} about {forward}"
    )
    if stacked:
        return "checkpointed", "one kernel per layer has too many taps for forward mode"
    if fields["checkpointed"] * size > 0.5 * _memory():
        return "forward", "reverse mode would store fields in more than half the memory"
    return "forward" if forward < reverse else "checkpointed", costs


def _memory() -> float:
    """Memory of the default device in bytes."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return float(stats["bytes_limit"])
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return math.inf
