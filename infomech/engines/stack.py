"""Static description of the layers that an engine executes."""

from dataclasses import dataclass

from jax.sharding import AbstractMesh, Mesh

from infomech.rectifiers import Rectifier


@dataclass(frozen=True)
class Stack:
    """Static description of `steps` layers u ← φ(k * u) on a field.

    Attributes:
        shape: shape of the field.
        kernel_size: taps of a kernel on each axis.
        steps: number of layers.
        stacked: whether each layer has its own kernel. Kernels have shape (steps, *kernel_size) if
            so, else (1, *kernel_size).
        rectifier: φ.
        boundary: "zero", "periodic" or "reflect".
        dtype: name of the dtype of kernels and field.
        rescale: whether the engine may scale the field by powers of 2 between layers, to avoid
            overflow; valid for homogeneous rectifiers.
        mesh: devices that split the field axis by axis; None for one device.
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
        """Number of tiles along each axis of the field."""
        sizes = self.mesh.axis_sizes if self.mesh is not None else ()
        return (*sizes, *(1 for _ in self.shape[len(sizes) :]))

    @property
    def tile(self) -> tuple[int, ...]:
        """Shape of one device's tile of the field."""
        return tuple(n // p for n, p in zip(self.shape, self.split, strict=True))
