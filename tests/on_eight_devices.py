"""Rollouts on eight virtual devices and on one, side by side: `python on_eight_devices.py PART FILE`.

A script of its own, since the number of devices is fixed when JAX starts. What it finds goes to an
npz file, by the names "case/what/one" and "case/what/mesh".
"""

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
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import infomech as im
from infomech.engines import tiles

for name, value in {
    "jax_enable_x64": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
}.items():
    jax.config.update(name, value)
# many layers to a halo, which doesn't pay on fields so small; 5 layers are 3 and a rest of 2
tiles.MOST_EXTRA, tiles.MOST_LAYERS = 100.0, 3
STEPS, EVERY = 10, 5


class Case(NamedTuple):
    mesh: tuple[int, ...]
    pixels: tuple[int, ...]
    taps: tuple[int, ...]
    boundary: str
    normalize: str
    rectifier: str
    kernels: str = "shared"
    dtype: str = "float64"


CASES = {
    "line": [
        Case((8,), (64,), (3,), "zero", "l2", "relu"),
        Case((8,), (64,), (4,), "reflect", "sum", "softplus", "stacked"),
        Case((8,), (64,), (5,), "periodic", "max", "leaky_relu", dtype="float32"),
        Case((8,), (64,), (2,), "zero", "none", "softplus", "stacked"),
        Case((8,), (64,), (5,), "reflect", "l2", "modulus", dtype="float32"),
    ],
    "plane": [
        Case((4, 2), (32, 16), (3, 4), "zero", "none", "softplus"),
        Case((4, 2), (32, 16), (3, 3), "reflect", "max", "relu", "stacked", "float32"),
        Case((4, 2), (32, 16), (2, 3), "periodic", "l2", "tanh"),
    ],
    "plane in rows": [
        Case((8, 1), (32, 12), (3, 2), "reflect", "none", "gelu"),
        Case((8, 1), (32, 30), (4, 3), "periodic", "sum", "relu", "stacked", "float32"),
        Case((4,), (24, 7), (4, 3), "zero", "sum", "modulus"),
    ],
    "space": [
        Case((2, 2, 2), (12, 10, 12), (3, 2, 3), "zero", "sum", "leaky_relu", "stacked"),
        Case((2, 2, 2), (12, 12, 10), (2, 3, 2), "reflect", "none", "relu"),
        Case((2, 2, 2), (12, 12, 12), (3, 3, 2), "periodic", "max", "tanh", dtype="float32"),
    ],
}


def mesh_of(sizes, kind=AxisType.Explicit):
    return jax.make_mesh(sizes, ("x", "y", "z")[: len(sizes)], axis_types=(kind,) * len(sizes))


def random(shape, dtype="float64", seed=0):
    """Numbers of either sign whose mass doesn't cancel."""
    return jnp.asarray(np.random.default_rng(seed).uniform(-0.3, 1.0, shape), dtype)


def differentiated(case, kernel, values, mesh):
    """Final field, trace and gradients; with a mesh also the derivative along a direction."""
    settings = {"rectifier": case.rectifier, "boundary": case.boundary, "every": EVERY}

    def loss(kernel, values):
        found = im.rollout(
            kernel, values, STEPS, normalize=case.normalize, mesh=mesh, **settings
        )
        final, trace = found
        weights = random(case.pixels, case.dtype, seed=3)
        # the size of a field without normalisation is its own
        seen = jnp.sum(weights * final.values) / jnp.max(jnp.abs(final.values)) + final.log_gain
        return seen + jnp.sum(trace.centre) + jnp.sum(trace.log_energy), found

    def both(kernel, values, *directions):
        (_, found), slopes = jax.value_and_grad(loss, (0, 1), has_aux=True)(kernel, values)
        if mesh is None:
            pairs = zip(slopes, directions, strict=True)
            return *found, slopes, sum(jnp.sum(s * d) for s, d in pairs)
        along = jax.jvp(lambda *args: loss(*args)[0], (kernel, values), directions)[1]
        return *found, slopes, along

    directions = [random(a.shape, a.dtype, seed) for seed, a in enumerate((kernel, values), 1)]
    final, trace, slopes, along = jax.jit(both)(kernel, values, *directions)
    return {
        "values": final.values, "origin": final.origin, "log_gain": final.log_gain,
        **{f"trace.{name}": number for name, number in vars(trace).items()},
        "dL/dkernel": slopes[0], "dL/dfield": slopes[1], "jvp": along,
    }  # fmt: skip


def compared(found, case, one, mesh):
    for where, results in (("one", one), ("mesh", mesh)):
        for name, result in results.items():
            found[f"{case}/{name}/{where}"] = np.asarray(result)


def cases(part):
    found = {}
    for case in CASES[part]:
        stack = (STEPS,) if case.kernels == "stacked" else ()
        kernel = random((*stack, *case.taps), case.dtype)
        values = random(case.pixels, case.dtype, seed=9)
        one, split = (
            differentiated(case, kernel, values, mesh) for mesh in (None, mesh_of(case.mesh))
        )
        compared(found, "-".join(map(str, case)), one, split)
    return found


def ways():
    """Everything that is not about layers, on a line."""
    found: dict[str, np.ndarray] = {}
    kernel, values = random((3,)), random((64,), seed=9)
    explicit, auto = (mesh_of((8,), kind) for kind in (AxisType.Explicit, AxisType.Auto))

    def last(kernel, values, mesh, **settings):
        final, trace = im.rollout(kernel, values, 4, every=2, mesh=mesh, **settings)
        return trace.log_mass[-1] + jnp.sum(final.values**3)

    def slopes(mesh, **settings):
        return jax.jit(jax.grad(lambda k, u: last(k, u, mesh, **settings), (0, 1)))

    one = dict(zip(("kernel", "field"), slopes(None)(kernel, values), strict=True))
    fields = {
        mesh: jax.device_put(values, NamedSharding(mesh, PartitionSpec("x")))
        for mesh in (explicit, auto)
    }
    for name, way in {
        "explicit axes, field on them": slopes(explicit)(kernel, fields[explicit]),
        "automatic axes, field on them": slopes(auto)(kernel, fields[auto]),
        "forward": slopes(auto, grad_mode="forward")(kernel, values),
        "full": slopes(auto, grad_mode="full")(kernel, values),
    }.items():
        compared(found, name, one, dict(zip(one, way, strict=True)))

    def batch(kernels, mesh):
        return jax.vmap(lambda kernel: last(kernel, values, mesh))(kernels)

    kernels = random((3, 4), seed=5)
    results = [
        jax.jit(jax.vjp(lambda k, mesh=mesh: batch(k, mesh), kernels)[1])(jnp.arange(3.0))[0]
        for mesh in (None, auto)
    ]
    compared(found, "vmap", *({"dL/dkernels": result} for result in results))

    elsewhere = jax.device_put(values, jax.devices()[5])
    few = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    for name, settings in {
        "sums beyond single precision": {
            "kernel": jnp.ones(3, "float32"), "field": im.fields.impulse(64, dtype="float32").values,
            "steps": 100,
        },
        "a fall beyond single precision": {
            "kernel": jnp.asarray([1, -0.9], "float32"), "field": jnp.ones(64, "float32"),
            "steps": 100, "boundary": "periodic",
        },
        "more taps than operations": {"kernel": random((201,)), "field": random((1024,), seed=2), "steps": 3},
        "a field elsewhere": {"kernel": kernel, "field": elsewhere, "steps": 3},
        "one device": {
            "kernel": kernel, "field": values, "steps": 7, "boundary": "reflect", "mesh": few,
        },
        "fields observed": {"kernel": kernel, "field": values, "steps": 7, "observe": lambda f: f.values},
    }.items():  # fmt: skip
        arguments = {"every": 50, "observe": None, **settings}
        split = im.rollout(**{"mesh": explicit, **arguments})
        arguments.pop("mesh", None)
        whole = im.rollout(**arguments, engine="convolution")
        pairs = zip(jax.tree.leaves_with_path(whole), jax.tree.leaves(split), strict=True)
        for (path, one), other in pairs:
            compared(found, name, {jax.tree_util.keystr(path): one}, {jax.tree_util.keystr(path): other})
    found["refused"] = np.array(list(refusals(explicit, kernel, values)))
    return found


def refusals(mesh, kernel, values):
    """What is said of calls that are refused."""
    def refused(*args, context=None, **settings):
        try:
            im.rollout(*args, **{"mesh": mesh, **settings})
        except ValueError as error:
            return str(error)
        return "not refused"

    yield refused(kernel, values[:60], 3)
    yield refused(random((20,)), values, 3)
    yield refused(random((16,)), values, 3, boundary="reflect")
    yield refused(kernel, values, 3, mesh=mesh_of((4, 2)))
    yield refused(kernel, values, 3, mesh="x")
    yield refused(kernel, values, 3, engine="shifts")
    yield refused(kernel, values, 3, engine="native")
    yield refused(kernel, values, 3, engine="spectral")
    yield refused(kernel, values, 3, engine="tiles", mesh=None)
    yield refused(kernel, values, 3, follow=1)
    with jax.set_mesh(mesh):
        yield refused(kernel, values, 3)


def text():
    """How often devices talk, by the compiled text: permutations and gathers of each program."""
    found = {}
    settings = {
        "as many layers as a halo": {"steps": 3, "observe": None},
        "a trace": {"steps": 3, "every": 3},
        "a scan": {"steps": 12, "every": 12},
        "a scan of traces": {"steps": 12, "every": 3},
        "a trace of each layer": {"steps": 24},
        "a rest": {"steps": 5, "observe": None},
        "each layer by itself": {"steps": 9, "rectifier": "tanh", "every": 3},
    }
    for sizes in ((8,), (4, 2), (8, 1), (2, 2, 2)):
        mesh, d = mesh_of(sizes), len(sizes)
        kernel, field = random((3,) * d), random((16,) * d if d > 1 else (64,), seed=1)
        few = settings if sizes == (4, 2) else {"a scan of traces": settings["a scan of traces"]}
        for name, how in few.items():
            for boundary in ("zero", "periodic", "reflect") if name in few and d == 2 else ("zero",):

                def run(kernel, field, mesh=mesh, how=how, boundary=boundary):
                    return im.rollout(kernel, field, mesh=mesh, boundary=boundary, **how)

                found[f"{sizes}/{name}/{boundary}"] = talk(run, kernel, field)
    mesh = mesh_of((8,))
    found["2 taps"] = talk(lambda k, u: im.rollout(k, u, 3, observe=None, mesh=mesh), random((2,)), random((64,)))

    def loss(kernel, field):
        final, _ = im.rollout(kernel, field, 3, observe=None, mesh=mesh)
        return jnp.sum(final.values**3)

    found["slopes"] = talk(jax.grad(loss, (0, 1)), random((3,)), random((64,)))
    return found


def talk(function, *args):
    compiled = jax.jit(function).lower(*args).compile().as_text()
    kinds = ("collective-permute", "all-gather", "all-to-all")
    return np.array([len(re.findall(rf" {kind}(?:-start)?\(", compiled)) for kind in kinds])


if __name__ == "__main__":
    part, path = sys.argv[1:]
    parts = {"ways": ways, "text": text}
    np.savez(path, **(parts[part]() if part in parts else cases(part)))
