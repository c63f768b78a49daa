"""Choose the engine and the differentiation mode of a rollout, and explain the choice."""

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

#: all engines in order of preference; the first without an objection is chosen
ENGINES: dict[str, ModuleType] = {
    "spectral": spectral,
    "native": native,
    "shifts": shifts,
    "convolution": convolution,
    "tiles": tiles,
}

#: differentiation modes
GRAD_MODES = ("forward", "checkpointed", "full")

#: segments shorter than this are not checkpointed separately
_MIN_SEGMENT = 16


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
    """Plan how `infomech.rollout` would execute these layers, and why.

    Args:
        kernel_size: shape of the kernel.
        shape: shape of the field, with as many axes.
        steps: number of layers, at least 1.
        rectifier, boundary, normalize, engine: as for `rollout`.
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
    checks.one_of("boundary", boundary, ("zero", "periodic", "reflect"))
    checks.one_of("normalize", normalize, ("none", "sum", "l2", "max"))
    rectifier, dtype = rectifiers.get(rectifier), checks.floating_dtype(dtype).name
    platform = platform or jax.default_backend()
    checks.one_of("platform", platform, ("cpu", "gpu", "tpu"))
    device_mesh = devices.abstract(checks.shape("mesh", mesh) if len(mesh) else ())
    rescale = rectifier.homogeneous and normalize != "none"
    one_by_one = not rectifier.homogeneous and normalize != "none"
    call_steps = 1 if one_by_one else min(every or steps, steps)
    stack = Stack(
        shape, kernel_size, call_steps, stacked, rectifier, boundary, dtype, rescale, device_mesh
    )
    devices.check(stack)
    chosen = choose(stack, engine, platform)
    objections = {n: o for n, o in _objections(stack, platform).items() if o and n != chosen}
    size = batch * _bytes(stack)
    fields = _fields(replace(stack, steps=steps), chosen)
    mode, reason = _grad_mode(fields, size, kernel_size, outputs, stacked)
    exchange = tiles.steps_per_exchange(stack) if device_mesh is not None else 0
    return Plan(chosen, objections, mode, reason, fields, _memory(), size, stack.tile, exchange)


def choose(stack: Stack, engine: str = "auto", platform: str | None = None) -> str:
    """Name of the engine for a stack of layers.

    Raises:
        ValueError: an unknown engine, or one that can't execute these layers.
        ImportError: `engine="native"` without a C compiler.
    """
    checks.one_of("engine", engine, ("auto", *ENGINES))
    platform = platform or jax.default_backend()
    if engine != "auto":
        objection = _objection(engine, stack, platform)
        if objection == build.NO_COMPILER:
            raise extras.missing("ziglang", "native", f"engine {engine!r}")
        if objection:
            raise checks.error("engine", f"{engine!r}, which {objection}", "another one, or 'auto'")
        return engine
    objections = _objections(stack, platform)
    return next(name for name in ENGINES if objections[name] is None)


def choose_grad_mode(stack: Stack, engine: str) -> str:
    """Differentiation mode for one output after `stack.steps` layers."""
    fields = _fields(stack, engine)
    return _grad_mode(fields, _bytes(stack), stack.kernel_size, 1, stack.stacked)[0]


def runner(name: str, grad_mode: str) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """`run(stack, kernels, values)` of an engine, differentiated as `grad_mode` requires."""
    module = ENGINES[name]
    if name == "tiles":
        return tiles.forward if grad_mode == "full" else tiles.run
    if grad_mode == "full" and name != "spectral":
        return functools.partial(layers.forward, getattr(module, "convolution", shifts.convolution))
    return module.run


def checkpoint_interval(stack: Stack, grad_mode: str, engine: str) -> int:
    """Number of layers between two fields that reverse mode stores."""
    if grad_mode == "full" or engine == "spectral":
        return stack.steps
    if engine != "tiles":
        return scans.segment_length(stack.steps, _MIN_SEGMENT)
    each = tiles.steps_per_exchange(stack)
    return each * scans.segment_length(stack.steps // each, max(1, _MIN_SEGMENT // each))


def _bytes(stack: Stack) -> int:
    return math.prod(stack.tile) * jnp.dtype(stack.dtype).itemsize


def _objection(name: str, stack: Stack, platform: str) -> str | None:
    """Reason why this engine can't execute these layers on this platform; None if it can."""
    if stack.mesh is not None and name != "tiles":
        return "supports only a field on one device"
    return ENGINES[name].objection(stack, platform)


def _objections(stack: Stack, platform: str) -> dict[str, str | None]:
    """Reason against each engine, or None; the reason may be low speed."""
    objections: dict[str, str | None] = {}
    for name in ENGINES:
        if name == "native" and platform == "cpu" and not build.has_extra():
            objections[name] = f"is not installed: {extras.command('native')}"
        else:
            objections[name] = _objection(name, stack, platform)
    if objections["spectral"] is None and not _spectral_pays(stack, objections["native"] is None):
        objections["spectral"] = "is slower here than layer by layer"
    return objections


def _spectral_pays(stack: Stack, native: bool) -> bool:
    """Whether two transforms and a power are faster than all multiply-adds, by measured costs."""
    transforms = (110 if native else 16) * math.log2(max(2, math.prod(stack.shape)))
    return not stack.stacked and stack.steps * math.prod(stack.kernel_size) > transforms


def _fields(stack: Stack, engine: str) -> dict[str, int]:
    """Number of fields in memory for value and gradient, by mode."""
    interval = checkpoint_interval(stack, "checkpointed", engine)
    segments = math.ceil(stack.steps / interval)
    stored = 1 if engine == "spectral" else segments + min(interval, stack.steps)
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
