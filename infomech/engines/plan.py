"""Which engine executes a rollout and how derivatives are taken: the choice, and why."""

import functools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from infomech import rectifiers
from infomech._core import checks, extras, scans
from infomech.engines import (
    build,
    convolution,
    devices,
    layers,
    native,
    shifts,
    spectral,
    tiles,
)
from infomech.engines.stack import Stack

#: every way to execute a stack of layers; the first that has no objection is chosen
ENGINES: dict[str, ModuleType] = {
    "spectral": spectral,
    "native": native,
    "shifts": shifts,
    "convolution": convolution,
    "tiles": tiles,
}

#: how derivatives are taken
GRAD_MODES = ("forward", "checkpointed", "full")

#: fewer layers than this at a time are not worth remembering apart
_MIN_SEGMENT = 16


@dataclass(frozen=True)
class Plan:
    """How a rollout would be executed, and why.

    Attributes:
        engine: the engine chosen.
        objections: why not, for each engine that comes before it or can't do this.
        grad_mode: how derivatives would be taken.
        reason: why so.
        fields: fields that a gradient for the taps needs memory for, by mode.
        memory: bytes of memory of the device.
        bytes: of one field, or of its tile on one device, times the fields in the batch.
        tile: shape of what one device holds of the field.
        exchange: layers between two exchanges of halos; 0 where there are none.
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
        """The plan in lines for people."""
        lines = [f"engine     {self.engine}"]
        lines += [f"  not {name:<12} {why}" for name, why in self.objections.items()]
        if self.exchange:
            size = " x ".join(map(str, self.tile))
            often = "each layer" if self.exchange == 1 else f"every {self.exchange} layers"
            lines.append(f"tiles      {size} pixels, halos exchanged {often}")
        lines.append(f"gradients  {self.grad_mode}: {self.reason}")
        for mode, count in self.fields.items():
            lines.append(f"  {mode:<13}{count} fields, {count * self.bytes / 2**20:.3g} MiB")
        return "\n".join(lines)


def plan(
    kernel_size: Sequence[int],
    shape: Sequence[int],
    steps: int,
    *,
    rectifier: Any = "relu",
    boundary: str = "zero",
    normalize: str = "l2",
    every: int = 0,
    batch: int = 1,
    outputs: int = 1,
    stacked: bool = False,
    dtype: str = "float32",
    engine: str = "auto",
    platform: str | None = None,
    mesh: Sequence[int] = (),
) -> Plan:
    """How `infomech.rollout` would execute this, and why.

    Args:
        kernel_size: shape of the kernel.
        shape: shape of the field, as many axes.
        steps: number of layers, at least 1.
        rectifier, boundary, normalize, engine: as for `rollout`.
        every: layers between observations; 0: only the final field is asked for.
        batch: fields at a time, under `jax.vmap`.
        outputs: numbers whose gradients for the taps are asked for.
        stacked: whether each layer has its own kernel.
        dtype: name of the field's and kernel's dtype.
        platform: "cpu", "gpu" or "tpu"; JAX's default backend if None.
        mesh: devices that split each axis of the field, from the first on; () for one device.

    Returns:
        `Plan`, which prints as text.

    Raises:
        ValueError: an argument out of range, an unknown name, an engine that can't do this.
        ImportError: the native engine is asked for, and there is no C compiler.
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
    checks.one_of("boundary", boundary, ("zero", "periodic", "reflect"))
    checks.one_of("normalize", normalize, ("none", "sum", "l2", "max"))
    rectifier, dtype = rectifiers.get(rectifier), checks.floating_dtype(dtype).name
    platform = platform or jax.default_backend()
    checks.one_of("platform", platform, ("cpu", "gpu", "tpu"))
    across = devices.abstract(checks.shape("mesh", mesh) if len(mesh) else ())
    rescale = rectifier.homogeneous and normalize != "none"
    alone = not rectifier.homogeneous and normalize != "none"
    at_once = 1 if alone else min(every or steps, steps)
    stack = Stack(shape, kernel_size, at_once, stacked, rectifier, boundary, dtype, rescale, across)
    devices.check(stack)
    chosen = choose(stack, engine, platform)
    objections = {n: o for n, o in _objections(stack, platform).items() if o and n != chosen}
    size = batch * _bytes(stack)
    fields = _fields(replace(stack, steps=steps), chosen)
    mode, reason = _grad_mode(fields, size, kernel_size, outputs, stacked)
    exchange = tiles.layers_per_exchange(stack) if across is not None else 0
    return Plan(chosen, objections, mode, reason, fields, _memory(), size, stack.tile, exchange)


def choose(stack: Stack, engine: str = "auto", platform: str | None = None) -> str:
    """The name of the engine for a stack of layers.

    Raises:
        ValueError: an unknown engine, or one that can't execute these layers.
        ImportError: the native engine is asked for, and there is no C compiler.
    """
    checks.one_of("engine", engine, ("auto", *ENGINES))
    platform = platform or jax.default_backend()
    if engine != "auto":
        objection = _objection(engine, stack, platform)
        if objection == build.NO_COMPILER:
            raise extras.missing("ziglang", "native", f"engine {engine!r}")
        if objection:
            raise checks.error("engine", f"{engine!r}, but {objection}", "another one, or 'auto'")
        return engine
    objections = _objections(stack, platform)
    return next(name for name in ENGINES if objections[name] is None)


def choose_grad_mode(stack: Stack, engine: str) -> str:
    """How derivatives of `stack.steps` layers are taken, if one output's are asked for."""
    fields = _fields(stack, engine)
    return _grad_mode(fields, _bytes(stack), stack.kernel_size, 1, stack.stacked)[0]


def runner(name: str, grad_mode: str) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """`run(stack, kernels, values)` of an engine, with derivatives taken as `grad_mode` says."""
    module = ENGINES[name]
    if name == "tiles":
        return tiles.passed if grad_mode == "full" else tiles.run
    if grad_mode == "full" and name != "spectral":
        return functools.partial(layers.passed, getattr(module, "convolution", shifts.convolution))
    return module.run


def remembered(stack: Stack, grad_mode: str, engine: str) -> int:
    """How many of a stack's layers lie between two fields that reverse mode remembers."""
    if grad_mode == "full" or engine == "spectral":
        return stack.steps
    if engine != "tiles":
        return scans.piece(stack.steps, _MIN_SEGMENT)
    each = tiles.layers_per_exchange(stack)
    return each * scans.piece(stack.steps // each, max(1, _MIN_SEGMENT // each))


def _bytes(stack: Stack) -> int:
    return math.prod(stack.tile) * jnp.dtype(stack.dtype).itemsize


def _objection(name: str, stack: Stack, platform: str) -> str | None:
    """Why this engine can't execute these layers on this platform; None if it can."""
    if stack.mesh is not None and name != "tiles":
        return "it is for a field on one device"
    return ENGINES[name].objection(stack, platform)


def _objections(stack: Stack, platform: str) -> dict[str, str | None]:
    """Why not, for every engine; a matter of speed where the engine could."""
    found: dict[str, str | None] = {}
    for name in ENGINES:
        if name == "native" and platform == "cpu" and not build.has_extra():
            found[name] = f"it comes with {extras.command('native')}"
        else:
            found[name] = _objection(name, stack, platform)
    if found["spectral"] is None and not _worth_transforming(stack, found["native"] is None):
        found["spectral"] = "layer by layer is faster"
    return found


def _worth_transforming(stack: Stack, native: bool) -> bool:
    """Whether two transforms and a power take less time than all multiply-adds, as measured."""
    transforms = (110 if native else 16) * math.log2(max(2, math.prod(stack.shape)))
    return not stack.stacked and stack.steps * math.prod(stack.kernel_size) > transforms


def _fields(stack: Stack, engine: str) -> dict[str, int]:
    """Fields in memory for value and gradient, by mode."""
    each = remembered(stack, "checkpointed", engine)
    kept = 1 if engine == "spectral" else math.ceil(stack.steps / each) + min(each, stack.steps)
    return {
        "forward": 3 * (math.prod(stack.kernel_size) + 2),
        "checkpointed": kept + 4,
        "full": 2 * stack.steps,
    }


def _grad_mode(fields, size, taps, outputs, stacked) -> tuple[str, str]:
    """The mode, and why, by costs in forward runs as `python -m benchmarks` finds them."""
    reverse, forward = 4 * outputs, 1 + 3 * math.prod(taps)
    costs = (
        f"reverse for {outputs} output{'s' * (outputs > 1)} costs about {reverse} forward runs, "
        f"carrying {math.prod(taps)} taps forward about {forward}"
    )
    if stacked:
        return "checkpointed", "each layer has taps of its own, too many to carry forward"
    if fields["checkpointed"] * size > 0.5 * _memory():
        return "forward", "the fields that reverse mode remembers take more than half the memory"
    return "forward" if forward < reverse else "checkpointed", costs


def _memory() -> float:
    """Bytes of memory of the default device."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return float(stats["bytes_limit"])
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return math.inf
