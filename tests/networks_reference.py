"""Independent reference for layers of convolutional networks, in plain NumPy loops.

As `reference`, an oracle that shares no code with the package. A network is a list of layers
(kernels, stride, dilation, groups), with kernels (outputs, inputs/groups, *taps), stride and
dilation one number per axis.
"""

import numpy as np
import reference


def convolve(kernels, values, stride, dilation, groups, boundary="zero"):
    """out_o[y] = Σ_i Σ_j k_oi[j] u_i[s y − e j + c], pixel by pixel and tap by tap."""
    outputs, inputs, *taps = kernels.shape
    grid = values.shape[1:]
    c = [(e * (n - 1)) // 2 for n, e in zip(taps, dilation, strict=True)]
    out = np.zeros((outputs, *(-(-n // s) for n, s in zip(grid, stride, strict=True))))
    for o, *y in np.ndindex(*out.shape):
        first = o // (outputs // groups) * inputs
        for i, *j in np.ndindex(inputs, *taps):
            at, there = [], True
            for a, n in enumerate(grid):
                x = np.array(stride[a] * y[a] - dilation[a] * j[a] + c[a])
                index, inside = reference.source_index(x, n, boundary)
                at.append(int(index))
                there = there and bool(inside)
            if there:
                out[(o, *y)] += kernels[(o, i, *j)] * values[(first + i, *at)]
    return out


def paths(layers, output, power=1):
    """Displacement and weight of every path to an output, (paths, d) and (paths,)."""
    ways = [(output, np.zeros(layers[0][0].ndim - 2), 1.0)]
    spacings = [np.ones(layers[0][0].ndim - 2)]
    for _, stride, _, _ in layers:
        spacings.append(spacings[-1] * stride)
    for (kernels, _, dilation, groups), spacing in zip(
        reversed(layers), reversed(spacings[:-1]), strict=True
    ):
        outputs, inputs, *taps = kernels.shape
        r = reference.offsets(taps)
        ways = [
            (
                o // (outputs // groups) * inputs + i,
                moved + spacing * np.array(dilation) * r[tuple(j)],
                weight * kernels[(o, i, *j)] ** power,
            )
            for o, moved, weight in ways
            for i, *j in np.ndindex(inputs, *taps)
        ]
    return np.array([moved for _, moved, _ in ways]), np.array([w for _, _, w in ways])


def moments(r, w):
    """Σ w, Σ r w/Σ w, its covariance, |Σ w|/Σ |w|."""
    v = r.T @ w / w.sum()
    return w.sum(), v, (r - v).T @ ((r - v) * w[:, None]) / w.sum(), abs(w.sum()) / abs(w).sum()
