"""How a pile of images is read: what the user chose."""

from dataclasses import dataclass
from typing import Literal

DIGIT = "digit"
FOLDER, NONE = "folder", "none"
"""What `labels_from` may say besides a name."""


@dataclass(frozen=True)
class Reading:
    """The choices of the one who reads a pile; all are part of a source's state."""

    resize: bool = False
    """Bring other sizes to 28 x 28: pad to a square, then shrink or enlarge."""
    fit: Literal["digit"] | None = None
    """`digit`: cut the digit out and centre it as MNIST's makers did, whatever the size."""
    invert: bool = False
    """Take dark ink on light paper: 255 minus each grey level."""
    transpose: bool = False
    """Swap rows and columns, as EMNIST's files need."""
    value_range: tuple[float, float] | None = None
    """The values that stand for background and full ink; found over the whole source where it isn't given."""
    array: str | None = None
    """Which array of an archive, or column of a table, holds the images."""
    labels_from: str | None = None
    """Which array, column or suffix of members holds the labels; `folder`: the names of folders; `none`."""
    strict: bool = False
    """Whether it is an error that a file or member is passed over."""

    @property
    def any_size(self) -> bool:
        """Whether images of other sizes than 28 x 28 are taken."""
        return self.resize or self.fit is not None


AS_IT_IS = Reading()
