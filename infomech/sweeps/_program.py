"""The compiled program of one setting: build kernels, roll them out, measure."""

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

#: limit on the bytes of fields per batch and device: about the cache size on a CPU, elsewhere a
#: share of the device memory
_MAX_CPU_BYTES, _MAX_MEMORY_SHARE = 2**24, 0.25
#: buffers in memory per field of a batch
FIELD_COPIES = 4


def point(sweep: Sweep, setting: Setting) -> Callable[[dict[str, jax.Array]], dict[str, Any]]:
    """Function from the quantities of one point to its measurements."""
    observe = _observed.find(sweep.observe)
    constant = _start(setting)

    def measure(column):
        # keeps XLA from folding constants of the start field, which takes seconds
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
        return _checked(observe(kernel, final, trace, setting))

    return measure


def check_dtype(sweep: Sweep) -> None:
    """Raises ValueError if a sweep needs 64-bit types and JAX has them disabled."""
    if "float64" in sweep.dtype and jnp.result_type(float) != jnp.float64:
        raise checks.error("dtype", "float64", "jax.config.update('jax_enable_x64', True) before")


def variables(sweep: Sweep) -> list[Variable]:
    """Names, dtypes and shapes of the measurements; dtypes are promoted over all settings.

    Raises:
        ValueError: `observe` returns no dictionary of arrays, uses a name of the sweep, or returns
            a dtype that can't be stored.
    """
    taken = {*RESERVED, *STATIC, *(q for axis in sweep.axes for q in (axis.name, *axis.quantities))}
    taken |= {f"{name}_block" for name in taken}
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, np.dtype] = {}
    checked = set()
    for setting in sweep.settings():
        if setting.dtype in checked:
            continue
        checked.add(setting.dtype)
        column = {
            name: a.update(shape=a.shape[1:]) for name, a in _specs(sweep, setting, 1).items()
        }
        results = jax.eval_shape(point(sweep, setting), column)
        inner = {f"{name}_axis_{i}" for name, v in results.items() for i in range(v.ndim)}
        if clash := sorted((taken | inner) & set(results)):
            raise checks.error("observe", clash[0], "names not used by the sweep itself")
        for name, value in results.items():
            if getattr(value.dtype, "kind", "") not in ABSENT:
                expected = "real numbers of 8 to 64 bits; split complex ones into .real and .imag"
                raise checks.error("observe", f"{name} of {value.dtype}", expected)
            dtypes[name] = np.promote_types(dtypes.get(name, value.dtype), value.dtype)
            shapes.setdefault(name, value.shape)
    return [Variable(name, dtypes[name], shapes[name]) for name in shapes]


def lowered(sweep: Sweep, setting: Setting, devices: list[jax.Device], batch: int) -> Any:
    """Lowered (not yet compiled) program of one setting for `batch` points on all devices."""
    mesh = jax.sharding.Mesh(np.array(devices), ("points",))
    spec = jax.sharding.PartitionSpec("points")
    sharded = jax.shard_map(
        jax.vmap(point(sweep, setting)),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )
    sharding = jax.sharding.NamedSharding(mesh, spec)
    arguments = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding),
        _specs(sweep, setting, batch),
    )
    return jax.jit(sharded).lower(arguments)


def batch_size(setting: Setting, points: int, devices: list[jax.Device], max_batch: int = 0) -> int:
    """Points computed at once for blocks of `points`, evenly split over batches and devices.

    The last digit of results may depend on the batch size: XLA compiles different instructions.
    """
    field_bytes = math.prod(setting.field_shape) * np.dtype(setting.dtype).itemsize * FIELD_COPIES
    limit = _MAX_CPU_BYTES
    if devices[0].platform != "cpu":
        stats = devices[0].memory_stats() or {}
        limit = int(_MAX_MEMORY_SHARE * stats.get("bytes_limit", 2**32))
    per_device = max(1, max_batch // len(devices) if max_batch else limit // field_bytes)
    batches = -(-points // (per_device * len(devices)))
    return -(-points // (batches * len(devices))) * len(devices)


class Program:
    """The compiled program of one setting, for blocks of any size."""

    def __init__(
        self,
        sweep: Sweep,
        setting: Setting,
        shapes: dict[str, tuple[int, ...]],
        devices: list[jax.Device],
        max_batch: int,
        timed: Callable[[str], AbstractContextManager[None]],
        log: Callable[[str], None],
    ) -> None:
        """Compiles nothing yet; `timed` adds up seconds, `log` receives messages."""
        self.sweep, self.setting, self.devices = sweep, setting, devices
        self.timed, self.log = timed, log
        block_points = math.prod(_blocks.layout(sweep).block)
        self.batch = batch_size(setting, block_points, devices, max_batch)
        self.shapes = shapes
        self.compiled: Any = None

    def __call__(self, columns: dict[str, np.ndarray], points: int) -> dict[str, np.ndarray]:
        """Measurements at `points` points, batch by batch, as NumPy arrays."""
        while True:
            try:
                return self._run(columns, points)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                before = self.batch
                if before <= len(self.devices):
                    expected = "a smaller field: a smaller shape, or fewer steps"
                    got = f"{before}, but one point of {self.setting} exceeds the memory"
                    raise checks.error("batch", got, expected) from error
                self.batch = -(-before // 2 // len(self.devices)) * len(self.devices)
                self.compiled = None
                self.log(f"a batch of {before} exceeds the memory; continuing with {self.batch}")

    def _run(self, columns, points):
        if self.compiled is None:
            with self.timed("compile"):
                program = lowered(self.sweep, self.setting, self.devices, self.batch)
                self._check(program.out_info)
                self.compiled = program.compile()
        with self.timed("run"):
            inputs = batches(columns, points, self.batch, self.setting.dtype)
            results = jax.device_get([self.compiled(batch) for batch in inputs])
        return {name: np.concatenate([r[name] for r in results])[:points] for name in results[0]}

    def _check(self, results: dict[str, Any]) -> None:
        shapes = {name: value.shape[1:] for name, value in results.items()}
        if shapes != self.shapes:
            expected = f"{self.shapes}, the same for all settings and as stored"
            raise checks.error("observe", f"shapes {shapes} for {self.setting}", expected)


def batches(
    columns: dict[str, np.ndarray], points: int, batch: int, dtype: str
) -> Iterator[dict[str, np.ndarray]]:
    """Batches of the quantities at `points` points.

    The last batch is padded with the last point, which avoids a second compilation.
    """
    for first in range(0, points, batch):
        rows = np.minimum(np.arange(first, first + batch), points - 1)
        yield {name: _cast(name, column[rows], dtype) for name, column in columns.items()}


def _checked(results: Any) -> dict[str, Any]:
    """Result of `observe`; raises ValueError unless it is a dictionary of arrays or numbers."""
    if not isinstance(results, dict) or not results:
        got = "an empty dictionary" if isinstance(results, dict) else type(results).__name__
        raise checks.error("observe", got, "a dictionary of arrays by name")
    for name, value in results.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise checks.error("observe", repr(name), "names of letters, digits and _")
        if not (hasattr(value, "dtype") or isinstance(value, bool | int | float)):
            got = f"{name} of {type(value).__name__}"
            raise checks.error("observe", got, "a dictionary of arrays by name")
    return results


@functools.lru_cache(maxsize=8)
def _start(setting: Setting) -> fields.Field:
    """The pattern, padded to the shape of the field."""
    values = patterns.pattern(setting.pattern, setting.radius, setting.dimensions, setting.dtype)
    if not setting.shape:
        return patterns.padded(values, setting.kernel_shape, setting.steps, setting.boundary)
    padding = [n - m for n, m in zip(setting.field_shape, values.shape, strict=True)]
    return fields.as_field(jnp.asarray(np.pad(values, [(n // 2, n - n // 2) for n in padding])))


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
    """Shapes and dtypes of the quantities of a batch."""
    tables = [axis.table() for axis in sweep.axes]
    return {
        name: jax.ShapeDtypeStruct((batch, *c.shape[1:]), _cast(name, c[:1], setting.dtype).dtype)
        for table in tables
        for name, c in table.items()
    }


def _cast(name, column, dtype):
    return column.astype(np.uint32 if name == "seed" else dtype)
