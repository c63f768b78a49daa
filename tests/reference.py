"""Independent reference for the mechanics of filtering with a rectifier, in plain NumPy.

An oracle for the tests: each function writes out its formula in float64 with explicit loops over
taps and pixels, and shares no code with the package. Kernels and fields are arrays of one, two or
three dimensions; positions are in pixels and layers count from 0.
"""

import numpy as np

# --- the layer ------------------------------------------------------------------------------


def offsets(shape):
    """Offsets r_i = i - (n - 1)/2 of the taps of a kernel, shape (*shape, d)."""
    shape = tuple(shape)
    r = np.empty((*shape, len(shape)))
    for i in np.ndindex(*shape):
        for axis, n in enumerate(shape):
            r[(*i, axis)] = i[axis] - (n - 1) / 2
    return r


def source_index(y, length, boundary):
    """Index in [0, length) that the boundary maps y to, and whether it maps y to any."""
    if boundary == "zero":
        inside = (y >= 0) & (y < length)
        return np.where(inside, y, 0), inside
    everywhere = np.ones(y.shape, dtype=bool)
    if boundary == "periodic":
        return y % length, everywhere
    if boundary == "reflect":  # ... 2 1 [0 1 2 ... N-1] N-2 N-3 ...: period 2(N - 1)
        if length == 1:
            return np.zeros_like(y), everywhere
        period = 2 * (length - 1)
        y = y % period
        return np.where(y < length, y, period - y), everywhere
    raise ValueError(f"unknown boundary {boundary!r}")


def convolve(u, k, boundary):
    """True convolution out[x] = sum_i k[i] u[x - i + c] with c = (n - 1)//2 on each axis."""
    u = np.asarray(u, dtype=float)
    k = np.asarray(k, dtype=float)
    if k.ndim != u.ndim:
        raise ValueError("kernel and field must have the same number of dimensions")
    out = np.zeros(u.shape)
    for i in np.ndindex(*k.shape):
        sources = []
        present = []
        for axis in range(u.ndim):
            c = (k.shape[axis] - 1) // 2
            y = np.arange(u.shape[axis]) - i[axis] + c
            index, inside = source_index(y, u.shape[axis], boundary)
            sources.append(index)
            present.append(inside)
        out += k[i] * np.where(outer(present), u[np.ix_(*sources)], 0.0)
    return out


def outer(vectors):
    """Outer product a(x_1) b(x_2) ... of one vector per axis."""
    product = np.asarray(1)
    for vector in vectors:
        product = np.multiply.outer(product, vector)
    return product.astype(np.asarray(vectors[0]).dtype)


def relu(x):
    """max(x, 0)."""
    return np.maximum(x, 0.0)


def modulus(x):
    """|x|."""
    return np.abs(x)


def identity(x):
    """x."""
    return np.array(x, dtype=float)


def leaky_relu(x):
    """x for x > 0, 0.01 x otherwise."""
    return np.where(x > 0, x, 0.01 * x)


def softplus(x):
    """log(1 + e^x), written as log(e^0 + e^x) to avoid overflow."""
    return np.logaddexp(0.0, x)


def gelu(x):
    """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def tanh(x):
    """tanh(x)."""
    return np.tanh(x)


RECTIFIERS = {
    "relu": relu,
    "modulus": modulus,
    "identity": identity,
    "leaky_relu": leaky_relu,
    "softplus": softplus,
    "gelu": gelu,
    "tanh": tanh,
}

# Positively homogeneous: phi(a u) = a phi(u) for a > 0.
HOMOGENEOUS = {"relu", "modulus", "identity", "leaky_relu"}


def norm(u, kind):
    """1 for none, sum |u| for sum, sqrt(sum u^2) for l2, max |u| for max."""
    u = np.asarray(u, dtype=float)
    if kind == "none":
        return 1.0
    if kind == "sum":
        return float(np.sum(np.abs(u)))
    if kind == "l2":
        return float(np.sqrt(np.sum(u**2)))
    if kind == "max":
        return float(np.max(np.abs(u)))
    raise ValueError(f"unknown norm {kind!r}")


def rollout(kernels, u, steps, rectifier, boundary, normalize):
    """Layers u <- phi(k * u)/norm as (values, origin, log_gain), origin += c - (n - 1)/2 each."""
    values = np.array(u, dtype=float)
    kernels = np.asarray(kernels, dtype=float)
    if kernels.ndim == values.ndim:
        kernels = np.stack([kernels] * steps) if steps else kernels[None]
    elif kernels.ndim != values.ndim + 1 or len(kernels) != steps:
        raise ValueError("kernels must be one kernel or a stack of one kernel per step")
    phi = RECTIFIERS[rectifier]
    origin = np.zeros(values.ndim)
    log_gain = 0.0
    layers = [(values, origin, log_gain)]
    for step in range(steps):
        k = kernels[step]
        values = phi(convolve(values, k, boundary))
        origin = origin + [(n - 1) // 2 - (n - 1) / 2 for n in k.shape]
        size = norm(values, normalize)
        if size != 0.0:
            values = values / size
            if rectifier in HOMOGENEOUS:
                log_gain = log_gain + np.log(size)
        layers.append((values, origin, log_gain))
    return layers


def layers(kernels, u, count, rectifier, boundary):
    """The field after `count` layers as (values, e) of values * 2^e, with max |values| near 1.

    `kernels` has a leading axis of one kernel per layer, or of one kernel for all.
    """
    values, exponent = np.array(u, dtype=float), 0
    for layer in range(count):
        k = kernels[layer % len(kernels)]
        values = RECTIFIERS[rectifier](convolve(values, k, boundary))
        if rectifier in HOMOGENEOUS:
            _, e = np.frexp(np.max(np.abs(values)))
            values, exponent = np.ldexp(values, -e), exponent + int(e)
    return values, exponent


# dphi/dx below and at 0; it is 1 above.
SLOPES = {"relu": (0, 0), "modulus": (-1, 0), "identity": (1, 1), "leaky_relu": (0.01, 1)}


def pullback(kernels, u, count, rectifier, boundary, g):
    """dL/dkernels and dL/du of L = sum g u_T, u_T the field after `count` layers."""
    kernels = np.asarray(kernels, dtype=float)
    fields, filtered = [np.array(u, dtype=float)], []
    for layer in range(count):
        filtered.append(convolve(fields[-1], kernels[layer % len(kernels)], boundary))
        fields.append(RECTIFIERS[rectifier](filtered[-1]))
    below, at_zero = SLOPES[rectifier]
    by_kernels, g = np.zeros(kernels.shape), np.array(g, dtype=float)
    for layer in reversed(range(count)):
        kind, z = layer % len(kernels), filtered[layer]
        m = g * np.where(z > 0, 1.0, np.where(z < 0, below, at_zero))
        g = np.zeros(g.shape)
        for i in np.ndindex(*kernels.shape[1:]):
            sources, present = zip(
                *(
                    source_index(np.arange(length) - j + (n - 1) // 2, length, boundary)
                    for j, n, length in zip(i, kernels.shape[1:], z.shape, strict=True)
                ),
                strict=True,
            )
            inside, box = m * outer(present), np.ix_(*sources)
            by_kernels[(kind, *i)] += np.sum(inside * fields[layer][box])
            np.add.at(g, box, kernels[(kind, *i)] * inside)
    return by_kernels, g


# --- observables of a field -----------------------------------------------------------------


def mass(u):
    """M = sum u."""
    return float(np.sum(np.asarray(u, dtype=float)))


def energy(u):
    """Energy sum u^2."""
    return float(np.sum(np.asarray(u, dtype=float) ** 2))


def marginal(u, axis):
    """Mass m(x) along one axis, summed over all the others."""
    u = np.asarray(u, dtype=float)
    return np.sum(u, axis=tuple(a for a in range(u.ndim) if a != axis))


def center(u, origin):
    """c = sum x u / M, plus the origin; NaN for a field of zero mass."""
    u = np.asarray(u, dtype=float)
    c = np.full(u.ndim, np.nan)
    if mass(u) != 0.0:
        for axis in range(u.ndim):
            m = marginal(u, axis)
            c[axis] = np.sum(np.arange(len(m)) * m) / mass(u)
    return c + np.asarray(origin, dtype=float)


def second_moments(u, displacements):
    """Matrix sum d_a d_b u / M of the displacements d_a(x_a), one vector for each axis a."""
    u = np.asarray(u, dtype=float)
    moments = np.full((u.ndim, u.ndim), np.nan)
    if mass(u) == 0.0:
        return moments
    grids = np.meshgrid(*displacements, indexing="ij")
    for a in range(u.ndim):
        for b in range(u.ndim):
            moments[a, b] = np.sum(grids[a] * grids[b] * u) / mass(u)
    return moments


def covariance(u):
    """C = sum (x - c)(x - c)^T u / M; NaN for a field of zero mass."""
    u = np.asarray(u, dtype=float)
    c = center(u, np.zeros(u.ndim))
    return second_moments(u, [np.arange(u.shape[a]) - c[a] for a in range(u.ndim)])


def circular_center(u, origin):
    """L/(2 pi) arg sum m(x) e^(2 pi i x/L) in [0, L) per axis, plus the origin; NaN at M = 0."""
    u = np.asarray(u, dtype=float)
    c = np.full(u.ndim, np.nan)
    if mass(u) != 0.0:
        for axis in range(u.ndim):
            length = u.shape[axis]
            x = np.arange(length)
            resultant = np.sum(marginal(u, axis) * np.exp(2j * np.pi * x / length))
            position = np.angle(resultant) * length / (2 * np.pi) % length
            c[axis] = 0.0 if position == length else position  # -1e-17 % L rounds to L
    return c + np.asarray(origin, dtype=float)


def wrapped(displacement, length):
    """((d + L/2) mod L) - L/2, the displacement on a ring of length L, in [-L/2, L/2)."""
    return (displacement + length / 2) % length - length / 2


def wrapped_displacements(u):
    """Displacement of every index from the circular center around the ring, one vector per axis."""
    u = np.asarray(u, dtype=float)
    c = circular_center(u, np.zeros(u.ndim))
    return [wrapped(np.arange(u.shape[a]) - c[a], u.shape[a]) for a in range(u.ndim)]


def circular_covariance(u):
    """Second moments sum d d^T u / M of the wrapped displacements d from the circular center."""
    return second_moments(u, wrapped_displacements(u))


def unwrap(path, lengths):
    """Positions p_0 + sum of the steps p_t - p_(t-1), each reduced to [-L/2, L/2), per axis."""
    path = np.asarray(path, dtype=float)
    lengths = np.asarray(lengths, dtype=float)
    out = path.copy()
    for t in range(1, len(path)):
        out[t] = out[t - 1] + wrapped(path[t] - path[t - 1], lengths)
    return out


def standardized_moment(u, order):
    """mu_q / mu_2^(q/2) of the marginal mass per axis; NaN for zero mass or zero spread."""
    u = np.asarray(u, dtype=float)
    result = np.full(u.ndim, np.nan)
    c = center(u, np.zeros(u.ndim))
    for axis in range(u.ndim):
        if mass(u) == 0.0:
            continue
        m = marginal(u, axis) / mass(u)
        d = np.arange(len(m)) - c[axis]
        variance = np.sum(d**2 * m)
        if variance > 0.0:
            result[axis] = np.sum(d**order * m) / variance ** (order / 2)
    return result


def skewness(u):
    """mu_3 / mu_2^(3/2) of the marginal mass, per axis."""
    return standardized_moment(u, 3)


def excess_kurtosis(u):
    """mu_4 / mu_2^2 - 3 of the marginal mass, per axis."""
    return standardized_moment(u, 4) - 3.0


def edge(u, taps, boundary):
    """Share of sum |u| at pixels from which one layer of the given taps reaches the boundary."""
    u = np.asarray(u, dtype=float)
    total = np.sum(np.abs(u))
    if total == 0.0:
        return 0.0
    if boundary == "periodic" and mass(u) == 0.0:
        return float("nan")  # no circular center, so no antipode
    touched = np.zeros(u.shape, dtype=bool)
    for axis, (length, n) in enumerate(zip(u.shape, taps, strict=True)):
        if boundary == "periodic":
            at_edge = at_antipode(wrapped_displacements(u)[axis], length, n)
        else:
            at_edge = at_wall(length, n, boundary)
        shape = [1] * u.ndim
        shape[axis] = length
        touched |= at_edge.reshape(shape)
    return float(np.sum(np.abs(u)[touched]) / total)


def at_wall(length, n, boundary):
    """Whether the response to y, or to a pixel farther in, differs from that on an infinite line.

    The response is that of one layer of n unit taps to an impulse.
    """
    differs = []
    for pixel in range(length):
        impulse = np.zeros(length)
        impulse[pixel] = 1.0
        free = np.zeros(length + 2 * n)
        start = n + pixel - (n - 1) // 2
        free[start : start + n] = 1.0
        out = convolve(impulse, np.ones(n), boundary)
        differs.append(free.sum() != free[n:-n].sum() or not np.array_equal(out, free[n:-n]))
    touched = np.array(differs)
    half = len(touched) // 2
    touched[:half] = np.logical_or.accumulate(touched[:half][::-1])[::-1]
    touched[half:] = np.logical_or.accumulate(touched[half:])
    return touched


def at_antipode(displacement, length, n):
    """|d| >= L/2 - n//2 for n > 1; equality up to rounding counts."""
    if n == 1:
        return np.zeros(displacement.shape, dtype=bool)
    return np.abs(displacement) >= length / 2 - n // 2 - 1e-9


# --- observables of a kernel ----------------------------------------------------------------


def reflect(k):
    """R k(r) = k(-r)."""
    k = np.asarray(k, dtype=float)
    out = np.empty(k.shape)
    for i in np.ndindex(*k.shape):
        out[i] = k[tuple(n - 1 - j for n, j in zip(k.shape, i, strict=True))]
    return out


def split(k):
    """k_e = (k + R k)/2 and k_o = (k - R k)/2."""
    k = np.asarray(k, dtype=float)
    return (k + reflect(k)) / 2, (k - reflect(k)) / 2


def mirror_split(k):
    """Mirror parts prod_a (1 +- R_a)/2 k, indexed 0 (even) or 1 (odd) on each axis a."""
    k = np.asarray(k, dtype=float)
    parts = np.empty((2,) * k.ndim + k.shape)
    for parity in np.ndindex(*(2,) * k.ndim):
        part = k
        for axis in range(k.ndim):
            sign = -1.0 if parity[axis] else 1.0
            part = (part + sign * np.flip(part, axis)) / 2
        parts[parity] = part
    return parts


def momentum(k):
    """p = sum r k_o(r)."""
    _, odd = split(k)
    r = offsets(odd.shape)
    p = np.zeros(odd.ndim)
    for i in np.ndindex(*odd.shape):
        p += r[i] * odd[i]
    return p


def energy_momentum(k):
    """Energies ||k||^2, ||k_e||^2, ||k_o||^2, odd share, gain, momentum, mass squared, rapidity."""
    k = np.asarray(k, dtype=float)
    k_e, k_o = split(k)
    total, even, odd = energy(k), energy(k_e), energy(k_o)
    p = momentum(k)
    length = np.sqrt(np.sum(p**2))
    return {
        "energy": total,
        "even": even,
        "odd": odd,
        "share": odd / total if total > 0 else float("nan"),
        "gain": mass(k),
        "momentum": p,
        "mass_squared": even - odd,
        "rapidity": float(np.arctanh(np.sqrt(odd / even))) if odd < even else float("nan"),
        "direction": p / length if length > 0 else np.full(k.ndim, np.nan),
    }


def predict(k):
    """v = p/s and D = sum r r^T k / s - v v^T of the inactive rectifier; NaN for s = 0."""
    k = np.asarray(k, dtype=float)
    s = mass(k)
    if s == 0.0:
        return np.full(k.ndim, np.nan), np.full((k.ndim, k.ndim), np.nan)
    r = offsets(k.shape)
    first = np.zeros(k.ndim)
    second = np.zeros((k.ndim, k.ndim))
    for i in np.ndindex(*k.shape):
        first += r[i] * k[i]
        second += np.outer(r[i], r[i]) * k[i]
    v = first / s
    return v, second / s - np.outer(v, v)


def transfer_function(k, omegas):
    """khat(omega) = sum_r k(r) e^(-i omega . r), with r the exact (possibly half-pixel) offsets."""
    k = np.asarray(k, dtype=float)
    omegas = [np.asarray(omega, dtype=float) for omega in omegas]
    r = offsets(k.shape)
    khat = np.zeros([len(omega) for omega in omegas], dtype=complex)
    for i in np.ndindex(*k.shape):
        khat += k[i] * outer([np.exp(-1j * omegas[a] * r[i][a]) for a in range(k.ndim)])
    return khat


# --- families of kernels --------------------------------------------------------------------


def constant(shape):
    """Equal taps of unit energy, 1/sqrt(number of taps)."""
    return np.full(tuple(shape), 1.0 / np.sqrt(np.prod(shape)))


def gradient(shape, direction):
    """Taps proportional to r . direction, of unit energy."""
    direction = np.asarray(direction, dtype=float)
    r = offsets(shape)
    k = np.zeros(tuple(shape))
    for i in np.ndindex(*k.shape):
        k[i] = np.sum(r[i] * direction)
    if energy(k) == 0.0:
        raise ValueError("direction: expected a component along an axis with more than one tap")
    return k / np.sqrt(energy(k))


def mix_share(shape, share, direction):
    """sqrt(1 - eps) constant + sqrt(eps) gradient."""
    return np.sqrt(1.0 - share) * constant(shape) + np.sqrt(share) * gradient(shape, direction)


def mix_ratio(shape, ratio, direction):
    """(1 - beta) constant + beta gradient, divided by its norm."""
    k = (1.0 - ratio) * constant(shape) + ratio * gradient(shape, direction)
    return k / np.sqrt(energy(k))


# --- the cosine basis -----------------------------------------------------------------------


def dct_matrix(n):
    """Rows w_m cos(pi m (2 j + 1)/(2 n)) with w_0 = sqrt(1/n) and w_m = sqrt(2/n)."""
    matrix = np.empty((n, n))
    for m in range(n):
        weight = np.sqrt(1.0 / n) if m == 0 else np.sqrt(2.0 / n)
        for j in range(n):
            matrix[m, j] = weight * np.cos(np.pi * m * (2 * j + 1) / (2 * n))
    return matrix


def dct(k):
    """Coefficients <k, b_m> with the basis functions b_m, products of one cosine for each axis."""
    k = np.asarray(k, dtype=float)
    rows = [dct_matrix(n) for n in k.shape]
    coefficients = np.empty(k.shape)
    for m in np.ndindex(*k.shape):
        basis = outer([rows[axis][m[axis]] for axis in range(k.ndim)])
        coefficients[m] = np.sum(k * basis)
    return coefficients


def mode(d, axis=None):
    """Index of the DC mode, or of the mode that is 1 on one axis and 0 on the others."""
    return tuple(1 if a == axis else 0 for a in range(d))


def low_frequency_share(k):
    """(DC energy + energies of the modes that are 1 on one axis and 0 on the others) / total."""
    coefficients = dct(k)
    total = energy(coefficients)
    if total == 0.0:
        return float("nan")
    low = coefficients[mode(coefficients.ndim)] ** 2
    for axis, n in enumerate(coefficients.shape):
        if n > 1:
            low += coefficients[mode(coefficients.ndim, axis)] ** 2
    return float(low / total)


def coordinates(k):
    """(DC coefficient, -(coefficient of mode 1 on axis a) for each a) / ||k||; 0 for one tap."""
    k = np.asarray(k, dtype=float)
    if energy(k) == 0.0:
        return np.full(k.ndim + 1, np.nan)
    coefficients = dct(k)
    result = np.zeros(k.ndim + 1)
    result[0] = coefficients[mode(k.ndim)]
    for axis, n in enumerate(k.shape):
        if n > 1:
            result[axis + 1] = -coefficients[mode(k.ndim, axis)]
    return result / np.sqrt(energy(k))


# --- fits -----------------------------------------------------------------------------------


def linear_fit(x, y):
    """Least-squares slope, intercept, r2 = 1 - RSS/TSS and sqrt(RSS/(n - 2)/sum (x - mean)^2)."""
    x = np.asarray(x, dtype=float)
    y = np.asarray(y, dtype=float)
    dx, dy = x - np.mean(x), y - np.mean(y)
    sxx, total = np.sum(dx**2), np.sum(dy**2)
    slope = np.sum(dx * dy) / sxx
    intercept = np.mean(y) - slope * np.mean(x)
    residual = np.sum((y - slope * x - intercept) ** 2)
    r2 = 1.0 - residual / total if total > 0 else float("nan")
    error = np.sqrt(residual / (len(x) - 2) / sxx) if len(x) > 2 else float("nan")
    return float(slope), float(intercept), float(r2), float(error)


def least_distance(x, y, through_zero):
    """Largest vertical distance from the points to the minimax line, by linear programming."""
    from scipy.optimize import linprog

    ones = np.ones_like(x)
    line = x[:, None] if through_zero else np.stack([x, ones], 1)
    above = np.concatenate([line, -line])
    rows = np.concatenate([above, -np.ones((2 * len(x), 1))], axis=1)
    cost = np.eye(rows.shape[1])[-1]
    return linprog(cost, rows, np.concatenate([y, -y]), bounds=(None, None)).fun
