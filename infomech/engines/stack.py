"""Static description of the layers that an engine executes, and of an engine."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
from jax.sharding import AbstractMesh, Mesh

from infomech._core import scans
from infomech.dynamics import Dynamics
from infomech.rectifiers import Rectifier

#: segments shorter than this are not checkpointed separately
MIN_SEGMENT = 16


@dataclass(frozen=True)
class Stack:
    """Static description of `steps` layers u ← φ(k * u) on a field.

    Attributes:
        shape: shape of the field.
        kernel_size: taps of a kernel on each axis.
        steps: number of layers.
        stacked: whether each layer has its own kernel. Kernels have shape (steps, *kernel_size) if
            so, else (1, *kernel_size).
        dynamics: rectifier, boundary and normalization. Engines leave out the normalization, but
            if norms can be factored out (`rescale`), they may scale the field by powers of 2
            between layers to avoid overflow.
        dtype: name of the dtype of kernels and field.
        mesh: devices that split the field axis by axis; None for one device.
    """

    shape: tuple[int, ...]
    kernel_size: tuple[int, ...]
    steps: int
    stacked: bool
    dynamics: Dynamics
    dtype: str
    mesh: Mesh | AbstractMesh | None = None

    @property
    def rectifier(self) -> Rectifier:
        """φ."""
        return self.dynamics.phi

    @property
    def boundary(self) -> str:
        """One of `infomech.dynamics.BOUNDARIES`."""
        return self.dynamics.boundary

    @property
    def rescale(self) -> bool:
        """Whether the engine may scale the field by powers of 2 between layers."""
        return self.dynamics.rescale

    @property
    def split(self) -> tuple[int, ...]:
        """Number of tiles along each axis of the field."""
        sizes = self.mesh.axis_sizes if self.mesh is not None else ()
        return (*sizes, *(1 for _ in self.shape[len(sizes) :]))

    @property
    def tile(self) -> tuple[int, ...]:
        """Shape of one device's tile of the field."""
        return tuple(n // p for n, p in zip(self.shape, self.split, strict=True))


#: `run(stack, kernels, values)`, the field after all layers as values and e of values · 2ᵉ
Run = Callable[[Stack, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def _no_reservation(stack: Stack, platform: str) -> str | None:
    return None


def _segment_length(stack: Stack) -> int:
    return scans.segment_length(stack.steps, MIN_SEGMENT)


@dataclass(frozen=True)
class Engine:
    """One way to execute a `Stack` of layers.

    Each convolution is a true one on the pixel grid, out[x] = Σ_i k[i] u[x − i + c] with
    c = (n − 1)//2.

    Attributes:
        name: for `engine=`, tables and messages.
        objection: `objection(stack, platform)`, the reason why the engine can't execute these
            layers, or None. It completes the sentence "this engine …".
        run: `run(stack, kernels, values)`, the field after all layers as values and an exponent e;
            the field is values · 2ᵉ. It is differentiable in reverse and forward mode.
        plain: the same in operations that JAX differentiates by itself, for
            `grad_mode="full"`; may equal `run`.
        reservation: `reservation(stack, platform)`, the reason why `engine="auto"` passes over the
            engine although it may be able to run, or None.
        segment: `segment(stack)`, the number of layers between two fields that reverse mode
            stores.
        recomputes_layers: whether reverse mode recomputes a segment and then stores a field per
            layer of it.
        splits_field: whether the engine runs fields that a mesh splits, and only these.
        requirement: (package, extra) that the engine needs, or None; a missing one raises
            `ImportError`.
    """

    name: str
    objection: Callable[[Stack, str], str | None]
    run: Run
    plain: Run
    reservation: Callable[[Stack, str], str | None] = _no_reservation
    segment: Callable[[Stack], int] = _segment_length
    recomputes_layers: bool = True
    splits_field: bool = False
    requirement: tuple[str, str] | None = None

    def why_not(self, stack: Stack, platform: str) -> str | None:
        """Reason why this engine can't execute these layers on this platform; None if it can."""
        if stack.mesh is not None and not self.splits_field:
            return "supports only a field on one device"
        return self.objection(stack, platform)

    def why_not_chosen(self, stack: Stack, platform: str) -> str | None:
        """Reason why `engine="auto"` passes over this engine; None if it may choose it."""
        return self.reservation(stack, platform) or self.why_not(stack, platform)

    def available(self, stack: Stack, platform: str) -> bool:
        """Whether `engine="auto"` may choose this engine."""
        return self.why_not_chosen(stack, platform) is None
