"""All tests run with 64-bit types at hand and with JAX's strictest promotion rules."""

import gc
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# where each operation comes from, written into every program, takes a twentieth of the time
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
def few_programs():
    """Drops the programs of each file behind it.

    XLA maps each into memory, and beyond 65,530 maps a process on Linux ends without a word.
    """
    yield
    jax.clear_caches()
    gc.collect()


def pytest_addoption(parser):
    parser.addoption("--haste", action="store_true", help="let XLA optimize little")


def pytest_configure(config):
    """For this process and those that it starts."""
    if config.getoption("haste"):
        jax.config.update("jax_disable_most_optimizations", True)
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        if not hasattr(config, "workerinput"):
            flags = f"{os.environ.get('XLA_FLAGS', '')} {quick.FLAGS}".strip()
            # XLA ends the process where the flags are blank: it takes them for a file's name
            if flags:
                os.environ["XLA_FLAGS"] = flags


def pytest_ignore_collect(collection_path, config):
    """Files without tests of compiled code needn't be imported to run nothing of them."""
    if config.option.markexpr.startswith("optimized") and collection_path.suffix == ".py":
        return "mark.optimized" not in collection_path.read_text("utf-8") or None
    return None


def pytest_collection_modifyitems(items):
    """Fast tests first: a mistake shows within seconds."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


def pytest_collection_finish():
    """What is there for good needn't be looked at whenever garbage is."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
