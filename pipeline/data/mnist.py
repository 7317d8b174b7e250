"""The four files of MNIST as they were published, and where they are served."""

from typing import NamedTuple


class RawFile(NamedTuple):
    """One published file."""

    name: str
    bytes: int
    sha256: str


TRAIN_IMAGES = RawFile(
    "train-images-idx3-ubyte.gz", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
)
TRAIN_LABELS = RawFile(
    "train-labels-idx1-ubyte.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
)
TEST_IMAGES = RawFile(
    "t10k-images-idx3-ubyte.gz", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
)
TEST_LABELS = RawFile(
    "t10k-labels-idx1-ubyte.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
)
# Smallest first: whether a mirror answers at all shows at once.
FILES = (TEST_LABELS, TRAIN_LABELS, TEST_IMAGES, TRAIN_IMAGES)

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
MIRROR_VARIABLE = "VAE_MNIST_MIRROR"

SOURCE_FILE = "source.json"  # beside the four: which source they are from
