"""All tests run with 64-bit types at hand and with JAX's strictest promotion rules."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis
import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile(
    "infomech", deadline=None, max_examples=25, derandomize=True, database=None
)
hypothesis.settings.load_profile("infomech")


def pytest_collection_modifyitems(items):
    """Fast tests first: a mistake shows within seconds."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
