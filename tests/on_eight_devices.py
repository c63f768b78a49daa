"""Rollouts on eight virtual devices and on one: `on_eight_devices.py FOLDER PART …`.

A separate script, because JAX fixes the number of devices when it starts. The results of a part
are stored in an npz file named after it, as "case/result/single" and "case/result/mesh".
"""

# ruff: noqa: E402

import os
import re
import sys
from typing import NamedTuple

flags = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import infomech as im
from infomech.engines import tiles

for name, value in {
    "jax_enable_x64": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
}.items():
    jax.config.update(name, value)
# several layers per exchange, which is inefficient on fields this small
tiles.MAX_EXTRA_SHARE, tiles.MAX_STEPS_PER_EXCHANGE = 100.0, 3


class Case(NamedTuple):
    mesh: tuple[int, ...]
    shape: tuple[int, ...]
    kernel_size: tuple[int, ...]
    boundary: str
    normalize: str
    rectifier: str
    kernels: str = "shared"
    dtype: str = "float64"
    steps: int = 6
    every: int = 3
    brief: bool = False


CASES = {
    "line": [
        Case((8,), (64,), (3,), "zero", "l2", "relu", steps=9, every=9),
        Case((8,), (64,), (5,), "periodic", "sum", "leaky_relu", dtype="float32", brief=True),
    ],
    "plane": [
        Case((4, 2), (32, 16), (3, 3), "reflect", "max", "relu", "stacked", "float32"),
    ],
    "space": [Case((2, 2, 2), (12, 10, 12), (3, 2, 1), "periodic", "sum", "modulus", brief=True)],
    "more lines": [
        Case((8,), (64,), (4,), "reflect", "max", "softplus", "stacked"),
        Case((8,), (64,), (2,), "zero", "none", "softplus", "stacked", steps=5, every=5),
        Case((8,), (64,), (5,), "reflect", "l2", "modulus", "shared", "float32"),
    ],
    "more planes": [
        Case((4, 2), (32, 16), (2, 3), "zero", "none", "softplus"),
        Case((4, 2), (32, 16), (2, 3), "periodic", "l2", "tanh"),
        Case((8, 1), (32, 12), (3, 2), "reflect", "none", "gelu", dtype="float32"),
        Case((8, 1), (32, 14), (4, 1), "periodic", "sum", "relu", "stacked"),
        Case((4,), (24, 7), (2, 3), "zero", "sum", "modulus", steps=5, every=5),
    ],
    "more spaces": [
        Case((2, 2, 2), (12, 10, 12), (3, 2, 1), "zero", "sum", "leaky_relu", "stacked"),
        Case((2, 2, 2), (12, 12, 10), (2, 1, 3), "reflect", "none", "relu"),
        Case((2, 2, 2), (12, 12, 12), (1, 3, 2), "periodic", "max", "gelu", dtype="float32"),
    ],
}


def mesh_of(sizes, kind=AxisType.Explicit):
    return jax.make_mesh(sizes, ("x", "y", "z")[: len(sizes)], axis_types=(kind,) * len(sizes))


def random(shape, dtype="float64", seed=0):
    """Random numbers of both signs whose mass doesn't cancel."""
    return jnp.asarray(np.random.default_rng(seed).uniform(-0.3, 1.0, shape), dtype)


def random_kernel(case):
    """Random taps with a gain near 1, to keep rectifiers out of saturation."""
    stack = (case.steps,) if case.kernels == "stacked" else ()
    kernel = random((*stack, *case.kernel_size), case.dtype)
    return kernel * (len(kernel) if stack else 1) / jnp.sum(kernel)


def log_sizes(field):
    """Observer of brief cases."""
    of = im.observables
    return {"log_mass": of.log_mass(field), "log_energy": of.log_energy(field)}


def differentiated(case, kernel, values, mesh):
    """Final field, trace, gradients, and the derivative along a direction.

    Brief cases use another observer and compute the directional derivative from the gradients.
    """
    settings = {"rectifier": case.rectifier, "boundary": case.boundary, "every": case.every}
    settings["observe"] = log_sizes if case.brief else "trace"

    def loss(kernel, values):
        final, trace = im.rollout(
            kernel, values, case.steps, normalize=case.normalize, mesh=mesh, **settings
        )
        observed = trace if case.brief else vars(trace)
        weights = random(case.shape, case.dtype, seed=3)
        # divide by the norm, which is arbitrary without normalization
        result = jnp.sum(weights * final.values) / jnp.sqrt(jnp.sum(final.values**2))
        smooth = ("center", "log_mass", "log_energy")
        sums = [jnp.sum(observed[name]) for name in smooth if name in observed]
        return result + final.log_gain + sum(sums), (final, observed)

    def derivatives(kernel, values, *directions):
        (_, result), slopes = jax.value_and_grad(loss, (0, 1), has_aux=True)(kernel, values)
        if mesh is None or case.brief:
            pairs = zip(slopes, directions, strict=True)
            return *result, slopes, sum(jnp.sum(s * d) for s, d in pairs)
        along = jax.jvp(lambda *args: loss(*args)[0], (kernel, values), directions)[1]
        return *result, slopes, along

    directions = [random(a.shape, a.dtype, seed) for seed, a in enumerate((kernel, values), 1)]
    final, trace, slopes, along = jax.jit(derivatives)(kernel, values, *directions)
    return {
        "values": final.values,
        "origin": final.origin,
        "log_gain": final.log_gain,
        **{f"trace.{name}": number for name, number in trace.items()},
        "dL/dkernel": slopes[0],
        "dL/dfield": slopes[1],
        "jvp": along,
    }


def store(stored, case, single, mesh):
    for device, results in (("single", single), ("mesh", mesh)):
        for name, result in results.items():
            stored[f"{case}/{name}/{device}"] = np.asarray(result)


def cases(part):
    result = {}
    for case in CASES[part]:
        kernel, values = random_kernel(case), random(case.shape, case.dtype, seed=9)
        single, split = (
            differentiated(case, kernel, values, mesh) for mesh in (None, mesh_of(case.mesh))
        )
        store(result, "-".join(map(str, case)), single, split)
    return result


def options():
    """Kinds of axes, gradient modes, batches and special inputs, on a line."""
    actual: dict[str, np.ndarray] = {}
    kernel, values = random((3,)), random((64,), seed=9)
    explicit, auto = (mesh_of((8,), kind) for kind in (AxisType.Explicit, AxisType.Auto))

    def last(kernel, values, mesh, **settings):
        final, trace = im.rollout(kernel, values, 4, every=2, mesh=mesh, **settings)
        return trace.log_mass[-1] + jnp.sum(final.values**3)

    def slopes(mesh, **settings):
        return jax.jit(jax.grad(lambda k, u: last(k, u, mesh, **settings), (0, 1)))

    single = dict(zip(("kernel", "field"), slopes(None)(kernel, values), strict=True))
    fields = {
        mesh: jax.device_put(values, NamedSharding(mesh, PartitionSpec("x")))
        for mesh in (explicit, auto)
    }
    for name, gradients in {
        "explicit axes, field on them": slopes(explicit)(kernel, fields[explicit]),
        "automatic axes, field on them": slopes(auto)(kernel, fields[auto]),
        "forward": slopes(auto, grad_mode="forward")(kernel, values),
        "full": slopes(auto, grad_mode="full")(kernel, values),
    }.items():
        store(actual, name, single, dict(zip(single, gradients, strict=True)))

    def batch(kernels, mesh):
        return jax.vmap(lambda kernel: last(kernel, values, mesh))(kernels)

    kernels = random((3, 4), seed=5)
    results = [
        jax.jit(jax.vjp(lambda k, mesh=mesh: batch(k, mesh), kernels)[1])(jnp.arange(3.0))[0]
        for mesh in (None, auto)
    ]
    store(actual, "vmap", *({"dL/dkernels": result} for result in results))

    on_other_device = jax.device_put(values, jax.devices()[5])
    tiny_mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    for name, settings in {
        "sums beyond single precision": {
            "kernel": jnp.ones(3, "float32"), "field": im.fields.impulse(64, dtype="float32"),
            "steps": 100,
        },
        "more taps than operations": {
            "kernel": random((201,)), "field": random((1024,), seed=2), "steps": 3,
        },
        "a field on another device": {"kernel": kernel, "field": on_other_device, "steps": 3},
        "one device": {
            "kernel": kernel, "field": values, "steps": 7, "boundary": "reflect", "mesh": tiny_mesh,
        },
        "fields observed": {
            "kernel": kernel, "field": values, "steps": 7, "observe": lambda field: field.values,
        },
    }.items():  # fmt: skip
        arguments = {"every": 50, "observe": None, **settings}
        split = im.rollout(**{"mesh": explicit, **arguments})
        arguments.pop("mesh", None)
        expected = im.rollout(**arguments, engine="convolution")
        store(actual, name, *map(named, (expected, split)))

    # stale values in a halo of several layers must not enter the norm of the field
    tiles.MAX_STEPS_PER_EXCHANGE = 16
    decay = jnp.asarray([1, 2**-13 - 1], "float32"), jnp.ones(256, "float32"), 40
    settings = {"boundary": "periodic", "observe": None}
    results = (im.rollout(*decay, mesh=mesh, **settings) for mesh in (None, auto))
    store(actual, "a decay beyond single precision", *map(named, results))
    return actual


def named(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def refusals():
    """Messages of refused calls."""
    return {"messages": np.array(list(refused()))}


def refused():
    mesh, kernel, values = mesh_of((8,)), random((3,)), random((64,))

    def message(*args, **settings):
        try:
            im.rollout(*args, **{"mesh": mesh, **settings})
        except ValueError as error:
            return str(error)
        return "not refused"

    yield message(kernel, values[:60], 3)
    yield message(random((20,)), values, 3)
    yield message(random((16,)), values, 3, boundary="reflect")
    yield message(kernel, values, 3, mesh=mesh_of((4, 2)))
    yield message(kernel, values, 3, mesh="x")
    yield message(kernel, values, 3, engine="shifts")
    yield message(kernel, values, 3, engine="native")
    yield message(kernel, values, 3, engine="spectral")
    yield message(kernel, values, 3, engine="tiles", mesh=None)
    yield message(kernel, values, 3, follow=1)
    with jax.set_mesh(mesh):
        yield message(kernel, values, 3)


def text():
    """Permutations and gathers of each program, counted in its compiled text."""
    result = {}
    for name, (sizes, boundary, settings) in {
        "a single exchange": ((4, 2), "zero", {"steps": 3, "observe": None}),
        "a trace": ((4, 2), "periodic", {"steps": 3, "every": 3}),
        "a scan": ((4, 2), "reflect", {"steps": 12, "observe": None}),
        "a scan of traces": ((4, 2), "zero", {"steps": 12, "every": 3}),
        "a trace of each layer": ((4, 2), "reflect", {"steps": 24}),
        "an exchange per layer": ((4, 2), "zero", {"steps": 9, "rectifier": "tanh", "every": 3}),
        "a line": ((8,), "zero", {"steps": 12, "every": 3}),
        "rows": ((8, 1), "periodic", {"steps": 12, "every": 3}),
        "space": ((2, 2, 2), "zero", {"steps": 12, "every": 3}),
    }.items():
        mesh, d = mesh_of(sizes), len(sizes)
        result[name] = communication(
            lambda k, u, mesh=mesh, boundary=boundary, settings=settings: im.rollout(
                k, u, mesh=mesh, boundary=boundary, **settings
            ),
            random((3,) * d),
            random((64,) if d == 1 else (32, 16, 12)[:d], seed=1),
        )

    def final(kernel, field, steps=3):
        return im.rollout(kernel, field, steps, observe=None, mesh=mesh_of((8,)))[0].values

    line = random((64,), seed=1)
    result["a remainder"] = communication(lambda k, u: final(k, u, 5), random((3,)), line)
    result["2 taps"] = communication(final, random((2,)), line)
    slopes = jax.grad(lambda k, u: jnp.sum(final(k, u) ** 3), (0, 1))
    result["slopes"] = communication(slopes, random((3,)), line)
    return result


def communication(function, *args):
    """Permutations, gathers and transposes in the compiled text, and executed permutations."""
    text = jax.jit(function).lower(*args).compile().as_text()
    kinds = ("collective-permute", "all-gather", "all-to-all")
    result = [len(re.findall(rf" {kind}(?:-start)?\(", text)) for kind in kinds]
    return np.array([*result, permutations(jax.make_jaxpr(function)(*args).jaxpr)])


def permutations(program):
    """Number of permutations of devices that a program executes."""
    count = 0
    for equation in program.eqns:
        inner = [p.jaxpr if isinstance(p, ClosedJaxpr) else p for p in equation.params.values()]
        inner_count = sum(permutations(p) for p in inner if isinstance(p, Jaxpr))
        repeats = equation.params["length"] if equation.primitive.name == "scan" else 1
        count += (equation.primitive.name == "ppermute") + repeats * inner_count
    return count


if __name__ == "__main__":
    folder, *parts = sys.argv[1:]
    functions = {"options": options, "text": text, "refusals": refusals}
    for part in parts:
        results = functions[part]() if part in functions else cases(part)
        np.savez(f"{folder}/{part}.npz", **results)
