"""Version of the package; the build and the stores of sweeps read it from here."""

__version__ = "0.1.0"
