"""Fields on a pixel grid: the `Field` type, initial patterns, and images."""

from infomech.fields import images, patterns
from infomech.fields._field import Field, as_field, box, disk, gaussian, image, impulse, random
from infomech.fields.images import PHOTOGRAPHS

__all__ = [
    "PHOTOGRAPHS",
    "Field",
    "as_field",
    "box",
    "disk",
    "gaussian",
    "image",
    "images",
    "impulse",
    "patterns",
    "random",
]
