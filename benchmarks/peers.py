"""The contenders: infomech and the libraries it is compared with.

A builder returns a function without arguments that runs the case, and its compile time; or None for
a case that it cannot compute. Each contender may use all threads.
"""

import functools
import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import infomech as im
from benchmarks import stencil
from benchmarks.cases import CORES, Built, Case

Builder = Callable[[Case, np.ndarray, np.ndarray], Built | None]


@dataclass(frozen=True)
class Contender:
    """A library and its variants.

    Attributes:
        module: module to import.
        package: package to install for that module.
        variants: builders by name; the fastest one that supports a case counts.
    """

    module: str
    package: str
    variants: dict[str, Builder]


def build_infomech(
    case: Case,
    kernels: np.ndarray,
    fields: np.ndarray,
    *,
    gradient: bool | None = None,
    **options: str,
) -> Built | None:
    """`infomech.rollout` without observation; `vmap` over several fields.

    Args:
        gradient: None to run every case; True to run gradient cases only; False to run gradient
            cases only, and to compute just the value.
        options: further arguments of `rollout`.
    """
    if gradient is not None and not case.gradient:
        return None

    def final(kernel, field):
        settings: dict[str, Any] = {"normalize": "none", "observe": None, **options}
        return im.rollout(kernel, field, case.steps, **settings)[0].values

    with_gradient = case.gradient and gradient is not False
    if case.fields == 1:
        return _compiled(case, final, kernels[0], fields[0], with_gradient)
    return _compiled(case, jax.vmap(final), kernels, fields, with_gradient)


def build_lax(
    case: Case, kernels: np.ndarray, fields: np.ndarray, *, batch: str = "groups"
) -> Built | None:
    """`lax.conv_general_dilated` in `lax.scan`; a batch as channel groups or by `vmap`.

    The scan carries padded fields, which is faster than the operator's `padding=`. With `padding=`,
    XLA on the CPU also reads outside the array, which can crash.
    """
    if case.fields == 1 and batch != "groups":
        return None
    half = case.kernel_size // 2
    widths = [(0, 0), (0, 0), *[(half, half)] * case.axes]
    inside = (0, slice(None), *[slice(half, -half)] * case.axes)

    def final(kernels, fields):
        reflected = jnp.flip(kernels, range(1, kernels.ndim))[:, None]

        def layer(u, _):
            u = jax.lax.conv_general_dilated(
                u,
                reflected,
                (1,) * case.axes,
                "VALID",
                feature_group_count=len(kernels),
                precision=jax.lax.Precision.HIGHEST,
            )
            return jnp.pad(jax.nn.relu(u), widths), None

        first = jnp.pad(fields[None], widths)
        return jax.lax.scan(layer, first, None, length=case.steps)[0][inside]

    if batch == "vmap":
        batched = jax.vmap(lambda kernel, field: final(kernel[None], field[None])[0])
        return _compiled(case, batched, kernels, fields, False)
    return _compiled(case, final, kernels, fields, case.gradient)


def _compiled(
    case: Case, final: Callable, kernels: np.ndarray, fields: np.ndarray, gradient: bool
) -> Built:
    def final_fields(k, u):
        return (final(k, u),)

    def energy(k, u):
        return jnp.sum(final(k, u) ** 2)

    function: Callable = final_fields
    if case.gradient:
        function = jax.value_and_grad(energy) if gradient else lambda k, u: (energy(k, u),)
    on_device = jax.block_until_ready((jnp.asarray(kernels), jnp.asarray(fields)))
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*on_device).compile()
    seconds = time.perf_counter() - start
    return lambda: jax.block_until_ready(compiled(*on_device)), seconds


def build_torch(
    case: Case, kernels: np.ndarray, fields: np.ndarray, *, channels_last: bool = False
) -> Built | None:
    """PyTorch's `conv` and `relu_`: in inference mode, or with autograd for the gradient."""
    import torch

    if channels_last and case.axes == 1:
        return None
    layouts = {2: torch.channels_last, 3: torch.channels_last_3d}
    layout = layouts[case.axes] if channels_last else torch.contiguous_format
    convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[case.axes - 1]
    torch.set_num_threads(CORES)
    initial = torch.from_numpy(fields[None]).to(memory_format=layout)
    taps = torch.from_numpy(kernels[:, None]).requires_grad_(case.gradient)

    def final():
        u = initial
        reflected = taps.flip(*range(2, taps.ndim)).to(memory_format=layout)
        for _ in range(case.steps):
            u = convolve(u, reflected, padding=case.kernel_size // 2, groups=case.fields).relu_()
        return u

    def run():
        with torch.inference_mode(not case.gradient):
            if not case.gradient:
                return (final()[0],)
            value = (final() ** 2).sum()
            (slope,) = torch.autograd.grad(value, taps)
            return value.detach(), slope[0, 0] if case.fields == 1 else slope[:, 0]

    return run, None


def build_opencv(
    case: Case, kernels: np.ndarray, fields: np.ndarray, *, threshold: bool = False
) -> Built | None:
    """OpenCV's `filter2D`, field by field; in-place ReLU by NumPy or by OpenCV's `threshold`.

    A one-dimensional field is an image of one row.
    """
    import cv2

    if case.gradient or case.axes == 3:
        return None
    cv2.setNumThreads(CORES)
    images = fields[:, None] if case.axes == 1 else fields
    # filter2D is a cross-correlation, like conv2d and lax.conv
    reflected = np.flip(kernels, tuple(range(1, kernels.ndim))).copy()
    reflected = reflected[:, None] if case.axes == 1 else reflected
    half = case.kernel_size // 2
    anchor = (half, 0 if case.axes == 1 else half)
    buffers = np.empty_like(images), np.empty_like(images)

    def forward():
        for kernel, u, *pair in zip(reflected, images, *buffers, strict=True):
            for layer in range(case.steps):
                out = pair[layer % 2]
                cv2.filter2D(u, -1, kernel, out, anchor, 0, cv2.BORDER_CONSTANT)
                if threshold:
                    cv2.threshold(out, 0, 0, cv2.THRESH_TOZERO, out)
                else:
                    np.maximum(out, 0, out=out)
                u = out
        return (buffers[(case.steps - 1) % 2].reshape(fields.shape),)

    return forward, None


def build_scipy(case: Case, kernels: np.ndarray, fields: np.ndarray) -> Built | None:
    """SciPy's `ndimage.convolve`, field by field; in-place ReLU by NumPy."""
    from scipy import ndimage

    if case.gradient:
        return None
    buffers = np.empty_like(fields), np.empty_like(fields)

    def forward():
        for kernel, u, *pair in zip(kernels, fields, *buffers, strict=True):
            for layer in range(case.steps):
                out = pair[layer % 2]
                ndimage.convolve(u, kernel, output=out, mode="constant")
                u = np.maximum(out, 0, out=out)
        return (buffers[(case.steps - 1) % 2],)

    return forward, None


def _infomech(**options: Any) -> Contender:
    return Contender("infomech", "infomech", {"": functools.partial(build_infomech, **options)})


#: `OURS` is the reference that all others are compared with
OURS, FORWARD_MODE, VALUE_ONLY = "infomech", "infomech, forward mode", "infomech, value only"
NUMBA, NUMBA_BLOCKED = "Numba", "Numba, rows blocked"
#: library convolutions, compared in the cases without gradient
LIBRARIES = ("OpenCV", "PyTorch", "SciPy", "lax.conv")
CONTENDERS = {
    OURS: _infomech(),
    "infomech, XLA": _infomech(engine="shifts"),
    FORWARD_MODE: _infomech(gradient=True, grad_mode="forward"),
    VALUE_ONLY: _infomech(gradient=False),
    NUMBA: Contender("numba", "numba", {"": stencil.build}),
    NUMBA_BLOCKED: Contender(
        "numba",
        "numba",
        {f"{n} rows": functools.partial(stencil.build, rows=n) for n in (2, 4)},
    ),
    "OpenCV": Contender(
        "cv2",
        "opencv-python-headless",
        {
            "threshold": functools.partial(build_opencv, threshold=True),
            "maximum": functools.partial(build_opencv, threshold=False),
        },
    ),
    "PyTorch": Contender(
        "torch",
        "torch",
        {
            "channels last": functools.partial(build_torch, channels_last=True),
            "channels first": functools.partial(build_torch, channels_last=False),
        },
    ),
    "lax.conv": Contender(
        "jax",
        "jax",
        {
            "groups": functools.partial(build_lax, batch="groups"),
            "vmap": functools.partial(build_lax, batch="vmap"),
        },
    ),
    "SciPy": Contender("scipy", "scipy", {"": build_scipy}),
}


def available() -> tuple[dict[str, str], dict[str, str]]:
    """Versions of the installed contenders, and the install command of each missing one."""
    versions, missing = {}, {}
    for name, contender in CONTENDERS.items():
        try:
            versions[name] = importlib.import_module(contender.module).__version__
        except ImportError:
            missing[name] = f"pip install {contender.package}"
    return versions, missing
