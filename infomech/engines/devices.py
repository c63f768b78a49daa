"""Meshes of devices that a field can be split over, and its way there."""

from dataclasses import replace
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from infomech._core import checks
from infomech.engines import halo
from infomech.engines.stack import Stack
from infomech.fields import Field


def mesh(value: Any) -> Mesh | None:
    """`value` with automatic axes, of whichever type its own are; None stays None.

    Raises:
        ValueError: no mesh, or called where JAX was told to take all axes for explicit.
    """
    if value is None:
        return None
    if not isinstance(value, Mesh):
        raise checks.error("mesh", repr(value), "a jax.sharding.Mesh, or None for one device")
    if AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
        got = "a call within jax.set_mesh of a mesh with explicit axes"
        raise checks.error("mesh", got, "one outside of it, or automatic axes")
    # explicit axes, the default of jax.make_mesh, would want a sharding for each operation
    return Mesh(value.devices, value.axis_names)


def abstract(sizes: tuple[int, ...]) -> AbstractMesh | None:
    """A mesh of so many devices on each axis, to plan with; None for one device."""
    names = tuple(str(axis) for axis in range(len(sizes)))
    return AbstractMesh(sizes, names) if sizes else None


def check(stack: Stack) -> None:
    """Raises ValueError if the stack's mesh can't split its field."""
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
        if max(side.halo) + mirror > side.pixels:
            got = f"tiles of {stack.tile} pixels"
            least = max(side.halo) + mirror
            raise checks.error("mesh", got, f"at least {least}, the reach of a layer, on each axis")


def placed(value: Mesh | None, kernel: jax.Array, field: Field) -> tuple[jax.Array, Field]:
    """The kernel on all devices of a mesh and the field split over them."""
    if value is None:
        return kernel, field
    values = _put(field.values, value, PartitionSpec(*value.axis_names))
    rest = (_put(a, value, PartitionSpec()) for a in (field.origin, field.log_gain))
    return _put(kernel, value, PartitionSpec()), Field(values, *rest)


def kept_split(value: Mesh | None, field: Field) -> Field:
    """The field, which the compiler is told to leave split over a mesh."""
    if value is None:
        return field
    sharding = NamedSharding(value, PartitionSpec(*value.axis_names))
    return replace(field, values=jax.lax.with_sharding_constraint(field.values, sharding))


def _put(array, value, spec):
    there, here = NamedSharding(value, spec), jax.typeof(array).sharding
    if AxisType.Explicit in here.mesh.axis_types:
        # a gradient has to come back with the type that the array has
        devices = value.devices.reshape(here.mesh.axis_sizes)
        source = Mesh(devices, here.mesh.axis_names, axis_types=here.mesh.axis_types)
        return jax.device_put(array, there, src=NamedSharding(source, here.spec))
    if isinstance(array, jax.core.Tracer):
        return jax.lax.with_sharding_constraint(array, there)
    return jax.device_put(array, there)
