"""Test setup: 64-bit types enabled, and JAX's strictest promotion rules."""

import gc
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# source locations in compiled programs cost 5 % of the test time
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

import hypothesis
import jax
import pytest

from experiments import quick

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile(
    "infomech", deadline=None, max_examples=25, derandomize=True, database=None
)
hypothesis.settings.load_profile("infomech")


@pytest.fixture(scope="module", autouse=True)
def clear_programs():
    """Drop compiled programs after each test file.

    XLA maps each program into memory, and a Linux process with over 65,530 maps dies silently.
    """
    yield
    jax.clear_caches()
    gc.collect()


def pytest_addoption(parser):
    parser.addoption("--fast-compile", action="store_true", help="disable most XLA optimizations")


def pytest_configure(config):
    """Apply --fast-compile to this process and its children."""
    if config.getoption("fast_compile"):
        jax.config.update("jax_disable_most_optimizations", True)
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        if not hasattr(config, "workerinput"):
            flags = f"{os.environ.get('XLA_FLAGS', '')} {quick.FLAGS}".strip()
            # XLA aborts if XLA_FLAGS is blank: it takes the value for a file name
            if flags:
                os.environ["XLA_FLAGS"] = flags


def pytest_ignore_collect(collection_path, config):
    """With `-m optimized`, skip files without such tests; importing them takes time."""
    if config.option.markexpr.startswith("optimized") and collection_path.suffix == ".py":
        return "mark.optimized" not in collection_path.read_text("utf-8") or None
    return None


def pytest_collection_modifyitems(items):
    """Run fast tests first, so failures show within seconds."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


def pytest_collection_finish():
    """Freeze long-lived objects so the garbage collector skips them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
