"""`infomech plan`: print how a rollout would be executed, and why."""

from dataclasses import asdict, dataclass

from infomech._core import files
from infomech.cli.choices import BoundaryName, EngineName, NormalizationName, RectifierName
from infomech.cli.options import use
from infomech.engines.plan import plan


@dataclass(frozen=True)
class PlanCommand:
    """Print the engine and the differentiation mode that a rollout would use, and why."""

    kernel_size: tuple[int, ...] = (3, 3)
    """Taps of the kernel on each axis."""
    shape: tuple[int, ...] = (256, 256)
    """Pixels of the field on each axis."""
    steps: int = 1000
    """Layers."""
    rectifier: RectifierName = "relu"
    boundary: BoundaryName = "zero"
    normalize: NormalizationName = "l2"
    every: int = 0
    """Layers between observations; 0: only the final field is observed."""
    batch: int = 1
    """Number of fields under vmap."""
    outputs: int = 1
    """Number of scalars to differentiate with respect to the taps."""
    stacked: bool = False
    """Each layer has its own kernel."""
    dtype: str = "float32"
    """float32 or float64."""
    engine: EngineName = "auto"
    platform: str | None = None
    """cpu, gpu or tpu; default: JAX's backend."""
    mesh: tuple[int, ...] = ()
    """Number of devices along each axis of the field, from the first on; none for one device."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Print the plan."""
        use(self.dtype)
        options = asdict(self)
        as_json = options.pop("json")
        result = plan(
            options.pop("kernel_size"), options.pop("shape"), options.pop("steps"), **options
        )
        print(files.to_json(asdict(result)) if as_json else result)
        return 0
