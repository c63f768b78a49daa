"""Errors for missing packages of extras: one type, one format."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from infomech._core import extras

ROOT = Path(__file__).parent.parent

#: packages of all extras, absent from a plain installation
OPTIONAL = (
    "PIL", "chex", "h5netcdf", "h5py", "matplotlib", "optimistix", "safetensors", "skimage",
    "sklearn", "tifffile", "tqdm", "tyro", "xarray", "zarr", "ziglang",
)  # fmt: skip

#: statement that needs a package, the package, its extra
CALLS = {
    "photograph": ("im.fields.image('camera')", "scikit-image", "cli"),
    "image": ("im.fields.image('a.h5')", "Pillow", "cli"),
    "digits": ("signals.signal('digits')", "scikit-learn", "cli"),
    "figures": ("import infomech.plot", "matplotlib", "plot"),
    "Keras file": ("list(im.weights.layers('a.h5'))", "h5py", "networks"),
    "table of a census": ("labeled({}, {}, {})", "xarray", "networks"),
    "store": ("im.sweeps.run(sweep, 'store')", "zarr", "sweeps"),
    "NetCDF": ("im.sweeps.export('store', 'a.nc')", "h5netcdf", "sweeps"),
    "least squares": ("solvers.choose('least squares')", "optimistix", "design"),
    "native engine": ("im.plan((3,), (9,), 2, engine='native')", "ziglang", "native"),
}

SCRIPT = """
import json, sys
from pathlib import Path

import numpy as np

import infomech as im
from infomech.design import solvers
from infomech.networks._census import labeled
from infomech.scattering import signals

Path("a.h5").write_bytes(b"\\x89HDF\\r\\n\\x1a\\n" + bytes(99))
sweep = im.sweeps.Sweep((im.sweeps.linear("share", 0.0, 0.5, 2),))
final, _ = im.rollout(np.array([0.0, 1.0, 2.0]), np.ones(9), 3)
errors = {"core": [type(final).__name__, ""]}
for name, statement in json.loads(sys.argv[1]).items():
    try:
        exec(statement)
        errors[name] = ["nothing", ""]
    except Exception as error:
        kind = "ImportError" if isinstance(error, ImportError) else repr(error)
        errors[name] = [kind, str(error)]
print(json.dumps(errors))
"""


def without(packages, script, folder, *arguments):
    """Runs a script in which these packages can't be imported and there is no C compiler."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"
    environment = {**os.environ, "PATH": str(folder), "PYTHONPATH": str(ROOT)}
    environment.pop("CC", None)
    return subprocess.run(
        [sys.executable, "-c", hide + script, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    statements = {name: call for name, (call, _, _) in CALLS.items()}
    done = without(OPTIONAL, SCRIPT, tmp_path_factory.mktemp("plain"), json.dumps(statements))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_plain_installation_runs_rollouts(errors):
    assert errors["core"] == ["Field", ""]


@pytest.mark.parametrize("name", CALLS)
def test_missing_package_names_its_extra_and_the_install_command(errors, name):
    _, package, extra = CALLS[name]
    kind, text = errors[name]
    assert kind == "ImportError"
    assert re.search(
        rf" needs {package}, which is not installed and comes with the extra '{extra}': "
        rf"run pip install '\.\[{extra}\]' in a checkout of infomech$",
        text,
    ), text


@pytest.mark.parametrize("name", CALLS)
def test_extra_contains_the_package(name):
    _, package, extra = CALLS[name]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    requirements = optional[extra] + (optional["plot"] if extra == "cli" else [])
    names = {re.split(r"[^\w-]", line)[0].lower() for line in requirements}
    assert package.lower() in names


@pytest.mark.parametrize("package", ["tyro", "tqdm", "matplotlib"])
def test_command_reports_a_missing_package_in_one_line(tmp_path, package):
    script = "from infomech.cli import main\nsys.exit(main(['law', '--kernel-size', '2']))"
    done = without([package], script, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        rf"infomech: .* needs {package}, which is .*: run pip install '.*' in a .*\n", done.stderr
    )


def test_running_command_reports_a_missing_package(tmp_path):
    script = (
        "from infomech.cli import main\n"
        "sys.exit(main(['simulate', '--share', '0.1', '--pattern', 'camera']))"
    )
    done = without(["skimage"], script, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch("infomech: .*'camera' needs scikit-image, which .*\n", done.stderr)


def test_broken_package_is_not_reported_as_missing():
    with (
        pytest.raises(ImportError, match=r"^libhdf5\.so") as error,
        extras.needed("networks", "it"),
    ):
        raise ImportError("libhdf5.so: cannot open shared object file")
    assert not isinstance(error.value, extras.MissingExtraError)
