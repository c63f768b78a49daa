"""`infomech plan`: how a rollout would be executed, and why."""

from dataclasses import asdict, dataclass

from infomech._core import files
from infomech.cli.options import use
from infomech.engines.plan import plan


@dataclass(frozen=True)
class PlanCommand:
    """Say which engine would execute a rollout and how gradients would be taken, and why."""

    kernel_size: tuple[int, ...] = (3, 3)
    """Taps of the kernel on each axis."""
    shape: tuple[int, ...] = (256, 256)
    """Pixels of the field on each axis."""
    steps: int = 1000
    """Layers."""
    rectifier: str = "relu"
    """relu, modulus, identity, leaky_relu, softplus, gelu or tanh."""
    boundary: str = "zero"
    """zero, periodic or reflect."""
    normalize: str = "l2"
    """none, sum, l2 or max."""
    every: int = 0
    """Layers between observations; 0: only the final field is asked for."""
    batch: int = 1
    """Fields at a time, under vmap."""
    outputs: int = 1
    """Numbers whose gradients for the taps are asked for."""
    stacked: bool = False
    """Each layer has a kernel of its own."""
    dtype: str = "float32"
    """float32 or float64."""
    engine: str = "auto"
    """auto, or the engine to insist on: spectral, native, shifts or convolution."""
    platform: str | None = None
    """cpu, gpu or tpu; by default where JAX would run."""
    mesh: tuple[int, ...] = ()
    """Devices that split each axis of the domain, from the first on; none for one device."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Prints the plan."""
        use(self.dtype)
        options = asdict(self)
        asked_json = options.pop("json")
        found = plan(
            options.pop("kernel_size"), options.pop("shape"), options.pop("steps"), **options
        )
        print(files.to_json(asdict(found)) if asked_json else found)
        return 0
