"""Kernels and shapes that every function refuses, shared by the tests of several rooms."""

import jax.numpy as jnp
import numpy as np

#: what comes, and what the message says of it
BAD_KERNELS = {
    "empty": ([], "no taps, expected at least one tap"),
    "an empty axis": (np.ones((3, 0)), "no taps, expected at least one tap"),
    "a number": (1.0, "0 axes, expected a kernel of 1, 2 or 3 axes"),
    "four axes": (np.ones((1, 1, 1, 1)), "4 axes, expected a kernel of 1, 2 or 3 axes"),
    "NaN": ([1.0, np.nan], "1 of 2 values not finite"),
    "infinite": (jnp.array([1.0, -jnp.inf, jnp.inf]), "2 of 3 values not finite"),
    "complex": ([1j], "complex128, expected real numbers"),
    "a word": ("abc", "str, expected an array of real numbers"),
    "words": (["left", "right"], "list, expected an array of real numbers"),
    "None": (None, "NoneType, expected an array of real numbers"),
    "ragged": ([[1.0, 2.0], [3.0]], "list, expected an array of real numbers"),
}

BAD_SHAPES = [0, -1, True, 2.5, None, "3", (), (3, 0), (3, -1), (3, True), (3, 2.0), (2, 2, 2, 2)]
