"""What every engine is told of the layers it executes."""

from dataclasses import dataclass

from jax.sharding import AbstractMesh, Mesh

from infomech.rectifiers import Rectifier


@dataclass(frozen=True)
class Stack:
    """`steps` layers u ← φ(k * u) on a field: everything about them that is static.

    Attributes:
        shape: shape of the field.
        kernel_size: shape of a kernel.
        steps: number of layers.
        stacked: the kernels are (steps, *kernel_size), one per layer, instead of (1, *kernel_size).
        rectifier: φ.
        boundary: "zero", "periodic" or "reflect".
        dtype: of kernels and field, by name.
        rescale: the field may be scaled by powers of 2 on the way, so that no number of layers
            overflows; for homogeneous rectifiers.
        mesh: devices that the field is split over, axis by axis; None for one device.
    """

    shape: tuple[int, ...]
    kernel_size: tuple[int, ...]
    steps: int
    stacked: bool
    rectifier: Rectifier
    boundary: str
    dtype: str
    rescale: bool
    mesh: Mesh | AbstractMesh | None = None

    @property
    def split(self) -> tuple[int, ...]:
        """Into how many tiles each axis of the field is split."""
        sizes = self.mesh.axis_sizes if self.mesh is not None else ()
        return (*sizes, *(1 for _ in self.shape[len(sizes) :]))

    @property
    def tile(self) -> tuple[int, ...]:
        """Shape of what one device holds of the field."""
        return tuple(n // p for n, p in zip(self.shape, self.split, strict=True))
