"""Reference implementation of convolutional layers in plain NumPy loops.

Like `reference`, it shares no code with the package. A network is a list of layers (kernels,
stride, dilation, groups) with kernels (outputs, inputs/groups, *kernel_size) and one stride and
dilation per axis.
"""

import numpy as np
import reference


def convolve(kernels, values, stride, dilation, groups, boundary="zero"):
    """out_o[y] = Σ_i Σ_j k_oi[j] u_i[s y − e j + c] by loops over pixels and taps."""
    outputs, inputs, *size = kernels.shape
    shape = values.shape[1:]
    c = [(e * (n - 1)) // 2 for n, e in zip(size, dilation, strict=True)]
    out = np.zeros((outputs, *(-(-n // s) for n, s in zip(shape, stride, strict=True))))
    for o, *y in np.ndindex(*out.shape):
        first = o // (outputs // groups) * inputs
        for i, *j in np.ndindex(inputs, *size):
            source, inside = [], True
            for a, n in enumerate(shape):
                x = np.array(stride[a] * y[a] - dilation[a] * j[a] + c[a])
                index, exists = reference.source_index(x, n, boundary)
                source.append(int(index))
                inside = inside and bool(exists)
            if inside:
                out[(o, *y)] += kernels[(o, i, *j)] * values[(first + i, *source)]
    return out


def paths(layers, output, power=1):
    """Displacement and weight of every path to an output, (paths, d) and (paths,)."""
    routes = [(output, np.zeros(layers[0][0].ndim - 2), 1.0)]
    spacings = [np.ones(layers[0][0].ndim - 2)]
    for _, stride, _, _ in layers:
        spacings.append(spacings[-1] * stride)
    for (kernels, _, dilation, groups), spacing in zip(
        reversed(layers), reversed(spacings[:-1]), strict=True
    ):
        outputs, inputs, *size = kernels.shape
        r = reference.offsets(size)
        routes = [
            (
                o // (outputs // groups) * inputs + i,
                displacement + spacing * np.array(dilation) * r[tuple(j)],
                weight * kernels[(o, i, *j)] ** power,
            )
            for o, displacement, weight in routes
            for i, *j in np.ndindex(inputs, *size)
        ]
    return np.array([r for _, r, _ in routes]), np.array([w for _, _, w in routes])


def moments(r, w):
    """Σ w, Σ r w/Σ w, its covariance, |Σ w|/Σ |w|."""
    v = r.T @ w / w.sum()
    return w.sum(), v, (r - v).T @ ((r - v) * w[:, None]) / w.sum(), abs(w.sum()) / abs(w).sum()
