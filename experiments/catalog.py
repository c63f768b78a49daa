"""The claims of the papers by number, and the experiments that test them."""

from types import ModuleType

from experiments import (
    atlas,
    energy_conservation,
    energy_decay,
    frontier,
    gaussian_spread,
    gradient_speed,
    isotropy,
    kernel_sizes,
    larger_filters,
    law,
    layer_energies,
    layers_needed,
    leading_edge,
    lorentz,
    mixing_ratio,
    parity,
    receptive_drift,
    slow_decay,
    targets,
    topology,
    train_digits,
    trained_filters,
    worst_signal,
)

MECHANICS, ENERGY = "arXiv 2512.24338", "arXiv 1704.03636"
#: statement and source
CLAIMS: dict[int, tuple[str, str]] = {
    1: (
        "A kernel is the orthogonal sum of its even and odd parts, and their energies add.",
        MECHANICS,
    ),
    2: ("Even kernels keep the center of mass fixed and spread isotropically.", MECHANICS),
    3: ("Repeated even filtering tends to a Gaussian whose spread grows as √t.", MECHANICS),
    4: (
        "Gradient kernels with ReLU move at constant speed, two taps at 0.5 pixels per layer.",
        MECHANICS,
    ),
    5: ("Speed is linear in the ratio of odd to total kernel energy.", MECHANICS),
    6: (
        "The mixing ratio β controls speed, and with the modulus the center can move faster than "
        "with ReLU.",
        MECHANICS,
    ),
    7: ("3×3 kernels diffuse and move more than 2×2 kernels.", MECHANICS),
    8: ("At β = 1 a disk sheds its core, and its leading edge is fastest.", MECHANICS),
    9: ("ReLU acts on patterns like a Lorentz transform.", MECHANICS),
    10: ("Small filters of trained networks are dominated by DC and gradients.", MECHANICS),
    11: ("Larger filters add further modes to DC and gradients.", MECHANICS),
    12: (
        "Tight frames with the modulus conserve energy at every layer, and only the zero signal "
        "has no features.",
        ENERGY,
    ),
    13: (
        "Energy decays at least exponentially; for general filters, at least polynomially.",
        ENERGY,
    ),
    14: ("A few layers capture 25 to 99 % of the energy of band-limited signals.", ENERGY),
    15: (
        "Decay can be arbitrarily slow for wavelets, but not for Weyl–Heisenberg filters.",
        "arXiv 2406.05121",
    ),
    16: ("For any decay factor there is a prototype filter.", "arXiv 1707.02711"),
    17: (
        "Rectified layers of random and trained CNNs obey the energy balance of scattering "
        "networks.",
        "arXiv 1704.03636, extended",
    ),
}

_MODULES = (
    parity,
    isotropy,
    gaussian_spread,
    gradient_speed,
    law,
    atlas,
    frontier,
    mixing_ratio,
    kernel_sizes,
    leading_edge,
    lorentz,
    trained_filters,
    train_digits,
    larger_filters,
    receptive_drift,
    energy_conservation,
    energy_decay,
    layers_needed,
    slow_decay,
    topology,
    layer_energies,
    targets,
    worst_signal,
)
#: modules by name, each with STATEMENT, SOURCE, CLAIMS (numbers of the claims it tests) and
#: run(out, *, quick) -> Finding; modules with an accelerator scale also take full=
EXPERIMENTS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module for module in _MODULES
}
