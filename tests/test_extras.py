"""What is said where a package of an extra is missing: one kind of error, in one form."""

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

#: every package of an extra, none of which a plain installation has
ALL = (
    "PIL", "chex", "h5netcdf", "h5py", "matplotlib", "optimistix", "safetensors", "skimage",
    "sklearn", "tifffile", "tqdm", "tyro", "xarray", "zarr", "ziglang",
)  # fmt: skip

#: what asks for a package: the statement, the package, its extra
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
from infomech.networks.census import labeled
from infomech.scattering import signals

Path("a.h5").write_bytes(b"\\x89HDF\\r\\n\\x1a\\n" + bytes(99))
sweep = im.sweeps.Sweep((im.sweeps.linear("share", 0.0, 0.5, 2),))
final, _ = im.rollout(np.array([0.0, 1.0, 2.0]), np.ones(9), 3)
said = {"core": [type(final).__name__, ""]}
for name, statement in json.loads(sys.argv[1]).items():
    try:
        exec(statement)
        said[name] = ["nothing", ""]
    except Exception as error:
        said[name] = ["ImportError" if isinstance(error, ImportError) else repr(error), str(error)]
print(json.dumps(said))
"""


def without(packages, script, folder, *arguments):
    """Runs a script where these packages can't be imported and there is no C compiler."""
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
def said(tmp_path_factory):
    statements = {name: call for name, (call, _, _) in CALLS.items()}
    done = without(ALL, SCRIPT, tmp_path_factory.mktemp("plain"), json.dumps(statements))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_plain_installation_runs_layers(said):
    assert said["core"] == ["Field", ""]


@pytest.mark.parametrize("name", CALLS)
def test_a_missing_package_is_named_with_its_extra_and_the_command(said, name):
    _, package, extra = CALLS[name]
    kind, text = said[name]
    assert kind == "ImportError"
    assert re.search(
        rf" needs {package}, which is not installed and comes with the extra '{extra}': "
        rf"run pip install '\.\[{extra}\]' in a checkout of infomech$",
        text,
    ), text


@pytest.mark.parametrize("name", CALLS)
def test_the_package_is_in_the_extra(name):
    _, package, extra = CALLS[name]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = project["optional-dependencies"]
    items = listed[extra] + (listed["plot"] if extra == "cli" else [])
    names = {re.split(r"[^\w-]", item)[0].lower() for item in items}
    assert package.lower() in names


@pytest.mark.parametrize("package", ["tyro", "tqdm", "matplotlib"])
def test_a_command_says_it_in_one_line(tmp_path, package):
    script = "from infomech.cli import main\nsys.exit(main(['law', '--kernel-size', '2']))"
    done = without([package], script, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        rf"infomech: .* needs {package}, which is .*: run pip install '.*' in a .*\n", done.stderr
    )


def test_a_command_that_runs_says_it_too(tmp_path):
    script = (
        "from infomech.cli import main\n"
        "sys.exit(main(['simulate', '--share', '0.1', '--pattern', 'camera']))"
    )
    done = without(["skimage"], script, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch("infomech: .*'camera' needs scikit-image, which .*\n", done.stderr)


def test_a_package_that_is_broken_is_not_called_missing():
    with (
        pytest.raises(ImportError, match=r"^libhdf5\.so") as error,
        extras.needed("networks", "it"),
    ):
        raise ImportError("libhdf5.so: cannot open shared object file")
    assert not isinstance(error.value, extras.MissingExtraError)
