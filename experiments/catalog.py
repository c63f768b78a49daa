"""The claims of the papers, by number, and the experiments that speak to them."""

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
    1: ("A kernel is the orthogonal sum of its even and odd part, and energies add.", MECHANICS),
    2: ("Even kernels keep the center where it is and spread isotropically.", MECHANICS),
    3: ("Repeated even filtering tends to a Gaussian whose spread grows as √t.", MECHANICS),
    4: (
        "Gradient kernels with ReLU move at constant speed, two taps by 0.5 pixels a layer.",
        MECHANICS,
    ),
    5: ("Speed is linear in the ratio of odd to total kernel energy.", MECHANICS),
    6: (
        "The mixing ratio β controls speed, and with the modulus the center can move faster than "
        "with ReLU.",
        MECHANICS,
    ),
    7: ("3×3 kernels diffuse and move more than 2×2 kernels.", MECHANICS),
    8: ("At β = 1 a disk sheds its core, and the leading edge is fastest.", MECHANICS),
    9: ("ReLU acts on patterns like a Lorentz transform.", MECHANICS),
    10: ("Small filters of trained networks are dominated by DC and gradients.", MECHANICS),
    11: ("Larger filters add further modes to DC and gradients.", MECHANICS),
    12: (
        "Tight frames with the modulus conserve energy at every layer, and only 0 has no features.",
        ENERGY,
    ),
    13: ("Energy decays at least exponentially, or polynomially for general filters.", ENERGY),
    14: ("A few layers hold 25 to 99 % of the energy of band-limited signals.", ENERGY),
    15: (
        "Decay can be arbitrarily slow for wavelets, and not for Weyl–Heisenberg filters.",
        "arXiv 2406.05121",
    ),
    16: ("There is a prototype filter for any factor of decay.", "arXiv 1707.02711"),
    17: (
        "Energy through random and trained rectified layers follows the accounts of scattering.",
        "arXiv 1704.03636, taken further",
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
#: by name: a module with STATEMENT, SOURCE, CLAIMS (numbers of what it speaks to) and
#: run(out, *, quick) -> Finding; one with a scale for accelerators takes full= too
EXPERIMENTS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module for module in _MODULES
}
