"""DCT spectrum, coordinates in the ball of fundamental modes, and transfer function of kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from bad_input import BAD_KERNELS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads

from infomech import spectrum

# kernel sizes from 1 to 15 on one, two and three axes
SHAPES = [(1,), (2,), (15,), (3, 3), (1, 4), (6, 7), (13, 14), (8, 5, 9), (10, 2, 11), (12, 1, 3)]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@jax.jit
def spectra(kernel):
    return {
        "dct": spectrum.dct(kernel),
        "from_dct": spectrum.from_dct(spectrum.dct(kernel)),
        "energies": spectrum.energies(kernel),
        "low_frequency_share": spectrum.low_frequency_share(kernel),
        "coordinates": spectrum.coordinates(kernel),
    }


def reference_spectra(kernel):
    return {
        "dct": reference.dct(kernel),
        "from_dct": kernel,
        "energies": reference.dct(kernel) ** 2,
        "low_frequency_share": reference.low_frequency_share(kernel),
        "coordinates": reference.coordinates(kernel),
    }


transfer_function = jax.jit(spectrum.transfer_function)


def random_kernel(shape, dtype="float64"):
    sample = np.random.default_rng(sum(shape)).standard_normal(shape)
    return (sample / np.sqrt(sample.size)).astype(dtype)


def some_kernel():
    """Kernels of 1 to 3 axes; only three shapes, to compile few programs."""
    values = st.floats(-1, 1, allow_subnormal=False)
    shapes = st.sampled_from([(4,), (3, 2), (2, 1, 3)])
    return shapes.flatmap(lambda shape: arrays(float, shape, elements=values))


def domain(*shape):
    """The angular frequencies of a periodic domain."""
    return [2 * np.pi * np.fft.fftfreq(n) for n in shape]


def assert_close(actual, expected, tolerance=1e-12, name=""):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, err_msg=name)


# --- DCT ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel_size", range(1, 16))
def test_basis_is_orthonormal_with_alternating_parity(kernel_size):
    modes = spectrum.basis(kernel_size)
    assert_close(modes, reference.dct_matrix(kernel_size))
    assert_close(modes @ modes.T, np.eye(kernel_size))
    signs = (-1.0) ** np.arange(kernel_size)
    assert_close(modes[:, ::-1], signs[:, None] * modes)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*((shape, "float64") for shape in SHAPES), ((15,), "float32"), ((3, 3), "float32")],
)
def test_spectra_match_the_reference(shape, dtype):
    kernel = random_kernel(shape, dtype)
    actual = spectra(kernel)
    assert {value.dtype for value in actual.values()} == {jnp.dtype(dtype)}
    for name, expected in reference_spectra(kernel).items():
        assert_close(actual[name], expected, TOLERANCE[dtype], name)


@given(some_kernel())
def test_dct_preserves_energy_and_inverts(kernel):
    result = spectra(kernel)
    assert_close(np.sum(result["energies"]), np.sum(kernel**2))
    assert_close(result["from_dct"], kernel)


# --- fundamental modes ----------------------------------------------------------------------


@given(some_kernel().filter(lambda kernel: np.sum(kernel**2) > 1e-6))
def test_coordinates_lie_in_the_unit_ball(kernel):
    result = spectra(kernel)
    square = np.sum(result["coordinates"] ** 2)
    assert square <= 1 + 1e-12
    assert_close(result["low_frequency_share"], square)


@pytest.mark.parametrize("shape", [(2,), (2, 3), (3, 3, 2)], ids=str)
def test_mixtures_up_to_three_taps_lie_on_the_sphere(shape):
    """Their gradient is a DCT mode, so coordinates return DC and direction with their signs."""
    direction = np.array([1.0, -2.0, 0.5])[: len(shape)]
    direction /= np.sqrt(direction @ direction)
    axes = [reference.gradient(shape, axis) for axis in np.eye(len(shape))]
    odd = np.tensordot(direction, axes, axes=1)
    actual = spectra(np.sqrt(0.7) * reference.constant(shape) + np.sqrt(0.3) * odd)
    assert_close(actual["coordinates"], [np.sqrt(0.7), *(np.sqrt(0.3) * direction)])
    assert_close(actual["low_frequency_share"], 1)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 2)], ids=str)
def test_zero_kernel_has_nan_coordinates_and_zero_gradient(shape):
    zero = jnp.zeros(shape)
    assert np.all(np.isnan(spectra(zero)["coordinates"]))
    assert np.isnan(spectra(zero)["low_frequency_share"])
    np.testing.assert_array_equal(jax.jit(jax.jacrev(spectrum.coordinates))(zero), 0)
    np.testing.assert_array_equal(jax.jit(jax.grad(spectrum.low_frequency_share))(zero), 0)


def test_axis_of_one_tap_has_no_gradient():
    assert_close(spectra(np.array([[3.0], [3.0]]))["coordinates"], [1, 0, 0])
    assert_close(spectra(np.array([-2.0]))["coordinates"], [-1, 0])


def test_coordinates_are_scale_invariant():
    """Squares of these taps underflow and overflow in float32."""
    kernel = np.array([1.0, 0.0, 3.0], np.float32)
    for factor in (1e-25, 1e25):
        actual = spectra(kernel * np.float32(factor))
        expected = reference.coordinates([1.0, 0.0, 3.0])
        assert_close(actual["coordinates"], expected, 1e-5)
        assert_close(actual["low_frequency_share"], np.sum(expected**2), 1e-5)


# --- transfer function ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(1,), (2,), (15,), (3, 3), (4, 5), (3, 2, 4)], ids=str)
def test_transfer_function_matches_the_reference(shape, dtype):
    kernel = random_kernel(shape, dtype)
    omegas = [np.linspace(-np.pi, np.pi, 3 + axis) for axis in range(len(shape))]
    actual = transfer_function(kernel, omegas)
    assert actual.dtype == {"float32": jnp.complex64, "float64": jnp.complex128}[dtype]
    assert_close(actual, reference.transfer_function(kernel, omegas), TOLERANCE[dtype])


@given(some_kernel())
def test_transfer_function_at_zero_is_the_gain(kernel):
    result = transfer_function(kernel, [np.zeros(1)] * kernel.ndim)
    assert_close(result.ravel(), [np.sum(kernel)])


@pytest.mark.parametrize("shape", [(3,), (15,), (4,), (3, 5), (2, 3), (3, 1, 5)], ids=str)
def test_transfer_function_matches_a_periodic_layer(shape):
    """F(k * u) = k̂ F(u); an even number of taps shifts the grid by half a pixel."""
    pixels = (16, 9, 7)[: len(shape)]
    kernel, u = random_kernel(shape), random_kernel(pixels)
    omegas = domain(*pixels)
    origin = [(n - 1) // 2 - (n - 1) / 2 for n in shape]
    shift = reference.outer([np.exp(-1j * w * x) for w, x in zip(omegas, origin, strict=True)])
    out = shift * np.fft.fftn(reference.convolve(u, kernel, "periodic"))
    assert_close(out, transfer_function(kernel, omegas) * np.fft.fftn(u))


@pytest.mark.parametrize("shape", [(3,), (5, 3), (3, 1, 5)], ids=str)
def test_transfer_function_of_odd_taps_is_the_fft(shape):
    pixels = (8, 9, 7)[: len(shape)]
    kernel = random_kernel(shape)
    padded = np.pad(kernel, [(0, pixel - n) for n, pixel in zip(shape, pixels, strict=True)])
    centered = np.roll(padded, [-(n // 2) for n in shape], range(len(shape)))
    assert_close(transfer_function(kernel, domain(*pixels)), np.fft.fftn(centered))


@given(some_kernel())
def test_parseval(kernel):
    """The energy is the mean of |k̂|² over a domain at least as large as the kernel."""
    result = transfer_function(kernel, domain(5, 4, 6)[: kernel.ndim])
    assert_close(np.mean(np.abs(result) ** 2), np.sum(kernel**2))


@pytest.mark.parametrize("shape", [(2,), (5,), (3, 4), (2, 3, 3)], ids=str)
def test_phase_slope_is_momentum_over_gain(shape):
    kernel = 0.3 + random_kernel(shape)

    @jax.jit
    @jax.grad
    def slope_of_phase(omegas):
        return jnp.angle(spectrum.transfer_function(kernel, omegas)).reshape(())

    slope = slope_of_phase([np.zeros(1)] * len(shape))
    assert_close(np.ravel(slope), -reference.momentum(kernel) / np.sum(kernel))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_transfer_function_of_half_precision_taps_is_complex64(dtype):
    result = spectrum.transfer_function(jnp.array([1, 2], dtype), [np.zeros(1)])
    assert result.dtype == jnp.complex64
    assert_close(result, [3], 1e-6)


# --- transformations ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 1, 3)], ids=str)
def test_vmap_matches_single_calls(shape):
    batch = random_kernel((5, *shape))
    batch[0] = 0
    result, omegas = jax.vmap(spectra)(batch), domain(5, 4, 6)[: len(shape)]
    waves = jax.vmap(transfer_function, (0, None))(batch, omegas)
    for i, kernel in enumerate(batch):
        assert_close(waves[i], transfer_function(kernel, omegas), 1e-14)
        for name, value in spectra(kernel).items():
            assert_close(result[name][i], value, 1e-14, name)


def test_derivatives_match_finite_differences():
    def everything(kernel, omegas):
        waves = transfer_function(kernel, omegas)
        return spectra(kernel), waves.real, waves.imag

    arguments = random_kernel((3, 2)), [np.array([0.1, 2.0]), np.array([-1.0])]
    check_grads(everything, arguments, order=1, modes=("fwd", "rev"))


# --- bad input ------------------------------------------------------------------------------

TAKE_KERNEL = {
    "dct": spectrum.dct,
    "from_dct": spectrum.from_dct,
    "energies": spectrum.energies,
    "low_frequency_share": spectrum.low_frequency_share,
    "coordinates": spectrum.coordinates,
    "transfer_function": lambda kernel: spectrum.transfer_function(kernel, [np.zeros(1)]),
}


@pytest.mark.parametrize(("kernel", "message"), BAD_KERNELS.values(), ids=BAD_KERNELS)
@pytest.mark.parametrize("name", TAKE_KERNEL)
def test_bad_kernel_is_refused(name, kernel, message):
    argument = "coefficients" if name == "from_dct" else "kernel"
    with pytest.raises(ValueError, match=f"^{argument}: got .*{message}"):
        TAKE_KERNEL[name](kernel)


BAD_FREQUENCIES = {
    "too few": ([np.zeros(2)], "1 vectors, expected 2, one per axis"),
    "too many": ([np.zeros(2)] * 3, "3 vectors, expected 2, one per axis"),
    "numbers": ([0.0, 1.0], r"shape \(\), expected a vector per axis"),
    "matrices": ([np.zeros((2, 2))] * 2, r"shape \(2, 2\), expected a vector per axis"),
    "None": (None, ".*expected .*per axis"),
    "a number": (0.5, ".*expected .*per axis"),
    "complex": ([np.array([1j])] * 2, ".*expected .*real numbers"),
    "words": (["low", "high"], ".*expected .*real numbers"),
    "NaN": ([np.array([np.nan])] * 2, ".*expected finite numbers"),
}


@pytest.mark.parametrize(("frequencies", "message"), BAD_FREQUENCIES.values(), ids=BAD_FREQUENCIES)
def test_bad_frequencies_are_refused(frequencies, message):
    with pytest.raises(ValueError, match=f"^frequencies: got {message}"):
        spectrum.transfer_function(np.ones((3, 3)), frequencies)


@pytest.mark.parametrize("kernel_size", [0, -1, True, 2.5, "3", None, (3,)], ids=str)
def test_bad_kernel_size_is_refused(kernel_size):
    with pytest.raises(
        ValueError, match=r"^kernel_size: got .*, expected an integer of at least 1"
    ):
        spectrum.basis(kernel_size)
