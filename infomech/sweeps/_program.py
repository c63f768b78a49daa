"""The compiled program of one setting: kernels from numbers, their rollouts, what is measured."""

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import fields, kernels
from infomech._core import checks
from infomech._rollout import rollout
from infomech.fields import patterns
from infomech.sweeps import _blocks, _observed
from infomech.sweeps._arrays import ABSENT, Variable
from infomech.sweeps._grid import RESERVED, STATIC, Setting, Sweep

#: bytes of fields computed at once on one device: on a CPU about what its caches hold, elsewhere
#: a share of the device's memory
_CPU_BYTES, _SHARE_OF_MEMORY = 2**24, 0.25
#: fields in memory for each one in a batch
COPIES = 4


def point(sweep: Sweep, setting: Setting) -> Callable[[dict[str, jax.Array]], dict[str, Any]]:
    """The function that is swept: from the quantities of one point to what is measured of it."""
    observe = _observed.find(sweep.observe)
    constant = _start(setting)

    def measured(column):
        # or XLA spends seconds on computing what it can of a photograph while it compiles
        start = jax.lax.optimization_barrier(constant)
        kernel = _kernel(setting, column)
        final, trace = rollout(
            kernel,
            start,
            setting.steps,
            rectifier=setting.rectifier,
            boundary=setting.boundary,
            normalize=setting.normalize,
            every=setting.every,
        )
        return _by_name(observe(kernel, final, trace, setting))

    return measured


def wide_types(sweep: Sweep) -> None:
    """Raises ValueError if a sweep needs 64-bit types and JAX has none."""
    if "float64" in sweep.dtype and jnp.result_type(float) != jnp.float64:
        raise checks.error("dtype", "float64", "jax.config.update('jax_enable_x64', True) before")


def variables(sweep: Sweep) -> list[Variable]:
    """Names, dtypes and shapes of what is measured; dtypes such that those of all settings fit.

    Raises:
        ValueError: it is no dictionary of arrays, or has names of the sweep's own, or a dtype that
            can't be stored.
    """
    taken = {*RESERVED, *STATIC, *(q for axis in sweep.axes for q in (axis.name, *axis.quantities))}
    taken |= {f"{name}_block" for name in taken}
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, np.dtype] = {}
    seen = set()
    for setting in sweep.settings():
        if setting.dtype in seen:
            continue
        seen.add(setting.dtype)
        column = {
            name: a.update(shape=a.shape[1:]) for name, a in _specs(sweep, setting, 1).items()
        }
        found = jax.eval_shape(point(sweep, setting), column)
        inner = {f"{name}_axis_{i}" for name, v in found.items() for i in range(v.ndim)}
        if clash := sorted((taken | inner) & set(found)):
            raise checks.error("observe", clash[0], "other names than the sweep's own")
        for name, value in found.items():
            if getattr(value.dtype, "kind", "") not in ABSENT:
                expected = "real numbers of 8 to 64 bits; of complex ones .real and .imag"
                raise checks.error("observe", f"{name} of {value.dtype}", expected)
            dtypes[name] = np.promote_types(dtypes.get(name, value.dtype), value.dtype)
            shapes.setdefault(name, value.shape)
    return [Variable(name, dtypes[name], shapes[name]) for name in shapes]


def lowered(sweep: Sweep, setting: Setting, devices: list[jax.Device], batch: int) -> Any:
    """The program of one setting for `batch` points on all devices, before it is compiled."""
    mesh = jax.sharding.Mesh(np.array(devices), ("points",))
    spread = jax.sharding.PartitionSpec("points")
    swept = jax.shard_map(
        jax.vmap(point(sweep, setting)),
        mesh=mesh,
        in_specs=spread,
        out_specs=spread,
        check_vma=False,
    )
    sharding = jax.sharding.NamedSharding(mesh, spread)
    specs = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding),
        _specs(sweep, setting, batch),
    )
    return jax.jit(swept).lower(specs)


def batch_size(setting: Setting, points: int, devices: list[jax.Device], most: int = 0) -> int:
    """Points computed at once for blocks of `points`, evenly split over batches and devices.

    XLA compiles other instructions for another batch, and they may round the last digit otherwise.
    """
    field = math.prod(setting.field_shape) * np.dtype(setting.dtype).itemsize * COPIES
    room = _CPU_BYTES
    if devices[0].platform != "cpu":
        stats = devices[0].memory_stats() or {}
        room = int(_SHARE_OF_MEMORY * stats.get("bytes_limit", 2**32))
    largest = max(1, most // len(devices) if most else room // field)
    times = -(-points // (largest * len(devices)))
    return -(-points // (times * len(devices))) * len(devices)


class Program:
    """The compiled program of one setting, for blocks of any size."""

    def __init__(
        self,
        sweep: Sweep,
        setting: Setting,
        shapes: dict[str, tuple[int, ...]],
        devices: list[jax.Device],
        most: int,
        counting: Callable[[str], AbstractContextManager[None]],
        tell: Callable[[str], None],
    ) -> None:
        """Compiles nothing yet; `counting` and `tell` hear of seconds and of troubles."""
        self.sweep, self.setting, self.devices = sweep, setting, devices
        self.counting, self.tell = counting, tell
        whole = math.prod(_blocks.layout(sweep).block)
        self.batch = batch_size(setting, whole, devices, most)
        self.shapes = shapes
        self.compiled: Any = None

    def __call__(self, columns: dict[str, np.ndarray], points: int) -> dict[str, np.ndarray]:
        """What is measured at `points` points, a batch at a time; NumPy arrays."""
        while True:
            try:
                return self._blockwise(columns, points)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                before = self.batch
                if before <= len(self.devices):
                    expected = "a smaller domain: fewer pixels, or fewer steps"
                    got = f"{before}, and {self.setting} takes more than the memory there is"
                    raise checks.error("batch", got, expected) from error
                self.batch = -(-before // 2 // len(self.devices)) * len(self.devices)
                self.compiled = None
                self.tell(
                    f"a batch of {before} is too large for memory: {self.batch} points at a time"
                )

    def _blockwise(self, columns, points):
        if self.compiled is None:
            with self.counting("compile_s"):
                program = lowered(self.sweep, self.setting, self.devices, self.batch)
                self._check(program.out_info)
                self.compiled = program.compile()
        with self.counting("run_s"):
            each = batches(columns, points, self.batch, self.setting.dtype)
            taken = [self.compiled(some) for some in each]
            found = jax.device_get(taken)
        return {name: np.concatenate([some[name] for some in found])[:points] for name in found[0]}

    def _check(self, found: dict[str, Any]) -> None:
        got = {name: value.shape[1:] for name, value in found.items()}
        if got != self.shapes:
            expected = f"{self.shapes}, the same for all settings and as stored"
            raise checks.error("observe", f"shapes {got} for {self.setting}", expected)


def batches(
    columns: dict[str, np.ndarray], points: int, batch: int, dtype: str
) -> Iterator[dict[str, np.ndarray]]:
    """The quantities at `points` points, `batch` at a time.

    The last batch is filled up with the last point, so that nothing compiles again.
    """
    for first in range(0, points, batch):
        rows = np.minimum(np.arange(first, first + batch), points - 1)
        yield {name: _cast(name, column[rows], dtype) for name, column in columns.items()}


def _by_name(found: Any) -> dict[str, Any]:
    """What `observe` gave; raises ValueError unless it is a dictionary of arrays or numbers."""
    if not isinstance(found, dict) or not found:
        got = "an empty dictionary" if isinstance(found, dict) else type(found).__name__
        raise checks.error("observe", got, "a dictionary of arrays by name")
    for name, value in found.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise checks.error("observe", repr(name), "names of letters, digits and _")
        if not (hasattr(value, "dtype") or isinstance(value, bool | int | float)):
            got = f"{name} of {type(value).__name__}"
            raise checks.error("observe", got, "a dictionary of arrays by name")
    return found


@functools.lru_cache(maxsize=8)
def _start(setting: Setting) -> fields.Field:
    """The pattern in its domain."""
    values = patterns.pattern(setting.pattern, setting.radius, setting.dimensions, setting.dtype)
    if not setting.shape:
        return patterns.with_room(values, setting.kernel_shape, setting.steps, setting.boundary)
    spare = [n - m for n, m in zip(setting.field_shape, values.shape, strict=True)]
    return fields.as_field(jnp.asarray(np.pad(values, [(n // 2, n - n // 2) for n in spare])))


def _kernel(setting, column):
    """The kernel of one point."""
    key = jax.random.key(column.get("seed", 0))
    if setting.family == "taps":
        kernel = column["taps"]
    elif setting.family == "random":
        share = column.get("share")
        kernel = kernels.random(setting.kernel_shape, key=key, share=share, dtype=setting.dtype)
    else:
        direction = column.get("direction")
        if "angle" in column:
            direction = jnp.stack([jnp.sin(column["angle"]), jnp.cos(column["angle"])])
        kernel = kernels.mix(
            setting.kernel_shape,
            share=column.get("share"),
            ratio=column.get("ratio"),
            direction=direction,
            dtype=setting.dtype,
        )
    if "noise" not in column:
        return kernel
    white = jax.random.normal(jax.random.fold_in(key, 1), kernel.shape, kernel.dtype)
    return kernel + column["noise"] * white / math.sqrt(kernel.size)


def _specs(sweep, setting, batch):
    """Shapes and dtypes of the quantities at `batch` points."""
    tables = [axis.table() for axis in sweep.axes]
    return {
        name: jax.ShapeDtypeStruct((batch, *c.shape[1:]), _cast(name, c[:1], setting.dtype).dtype)
        for table in tables
        for name, c in table.items()
    }


def _cast(name, column, dtype):
    return column.astype(np.uint32 if name == "seed" else dtype)
