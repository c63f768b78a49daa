"""Check meshes of devices, and split fields over them."""

from dataclasses import replace
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from infomech._core import checks
from infomech.engines import halo
from infomech.engines.stack import Stack
from infomech.fields import Field


def mesh(value: Any) -> Mesh | None:
    """Convert the axes of a mesh to automatic ones; None stays None.

    Raises:
        ValueError: `value` is no mesh, or the call is within `jax.set_mesh` with explicit axes.
    """
    if value is None:
        return None
    if not isinstance(value, Mesh):
        raise checks.error("mesh", repr(value), "a jax.sharding.Mesh, or None for one device")
    if AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
        got = "a call within jax.set_mesh of a mesh with explicit axes"
        raise checks.error("mesh", got, "a call outside of it, or automatic axes")
    # explicit axes, the default of jax.make_mesh, would need a sharding for each operation
    return Mesh(value.devices, value.axis_names)


def abstract(sizes: tuple[int, ...]) -> AbstractMesh | None:
    """Abstract mesh with the given number of devices on each axis, for planning; None for ()."""
    names = tuple(str(axis) for axis in range(len(sizes)))
    return AbstractMesh(sizes, names) if sizes else None


def check(stack: Stack) -> None:
    """Raise ValueError if the stack's mesh can't split its field."""
    if stack.mesh is None:
        return
    sizes = stack.mesh.axis_sizes
    if len(sizes) > len(stack.shape):
        raise checks.error("mesh", f"{len(sizes)} axes", f"at most the field's {len(stack.shape)}")
    if any(n % p for n, p in zip(stack.shape, sizes, strict=False)):
        expected = f"sizes that divide the field's {stack.shape} pixels"
        raise checks.error("mesh", f"axes of {sizes} devices", expected)
    mirror = stack.boundary == "reflect"
    for side in halo.sides(stack, 1):
        minimum = max(side.halo) + mirror
        if minimum > side.pixels:
            expected = f"at least {minimum}, the reach of a layer, on each axis"
            raise checks.error("mesh", f"tiles of {stack.tile} pixels", expected)


def distribute(
    device_mesh: Mesh | None, kernel: jax.Array, field: Field
) -> tuple[jax.Array, Field]:
    """Replicate the kernel over all devices of a mesh and split the field over them."""
    if device_mesh is None:
        return kernel, field
    values = _put(field.values, device_mesh, PartitionSpec(*device_mesh.axis_names))
    rest = (_put(a, device_mesh, PartitionSpec()) for a in (field.origin, field.log_gain))
    return _put(kernel, device_mesh, PartitionSpec()), Field(values, *rest)


def constrain(device_mesh: Mesh | None, field: Field) -> Field:
    """Tell the compiler to leave the field split over a mesh."""
    if device_mesh is None:
        return field
    sharding = NamedSharding(device_mesh, PartitionSpec(*device_mesh.axis_names))
    return replace(field, values=jax.lax.with_sharding_constraint(field.values, sharding))


def _put(array, device_mesh, spec):
    target, current = NamedSharding(device_mesh, spec), jax.typeof(array).sharding
    if AxisType.Explicit in current.mesh.axis_types:
        # a gradient must come back with the sharding type of the array
        devices = device_mesh.devices.reshape(current.mesh.axis_sizes)
        source = Mesh(devices, current.mesh.axis_names, axis_types=current.mesh.axis_types)
        return jax.device_put(array, target, src=NamedSharding(source, current.spec))
    if isinstance(array, jax.core.Tracer):
        return jax.lax.with_sharding_constraint(array, target)
    return jax.device_put(array, target)
