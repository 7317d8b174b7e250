"""The published data sets: their files, where these are served, and what they show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.data.prepared import About
from pipeline.data.raw import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS

MIRROR_VARIABLES = ("VAE_MIRROR", "VAE_MNIST_MIRROR")  # the second is the old name of the first


class RawFile(NamedTuple):
    """One published file."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A published data set, and what has to be done to it."""

    about: About
    mirrors: tuple[str, ...]
    """Addresses of folders that hold the files; tried in this order."""
    files: tuple[RawFile, ...]
    """Smallest first: whether a mirror answers at all shows at once."""
    members: Mapping[str, str] = field(default_factory=dict)
    """Where the one file is a zip: by name of a raw file, its path in there."""
    transposed: bool = False
    """Whether the rows of a stored image are the columns of the picture."""
    first_label: int = 0


_CLOTHES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_DIGITS = tuple("0123456789")
_CAPITALS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _emnist(split: str, noun: str, classes: tuple[str, ...], first_label: int = 0) -> Dataset:
    about = About(
        f"EMNIST {split.capitalize()}",
        noun,
        classes,
        "not stated; made from NIST Special Database 19",
        "Cohen, Afshar, Tapson & van Schaik, EMNIST: an extension of MNIST to handwritten letters (2017), "
        "arXiv:1702.05373",
    )
    members = {
        TRAIN_IMAGES: f"gzip/emnist-{split}-train-images-idx3-ubyte.gz",
        TRAIN_LABELS: f"gzip/emnist-{split}-train-labels-idx1-ubyte.gz",
        TEST_IMAGES: f"gzip/emnist-{split}-test-images-idx3-ubyte.gz",
        TEST_LABELS: f"gzip/emnist-{split}-test-labels-idx1-ubyte.gz",
    }
    archive = RawFile("gzip.zip", 561753746, "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e")
    mirrors = (
        "https://biometrics.nist.gov/cs_links/EMNIST/",
        "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
    )
    return Dataset(about, mirrors, (archive,), members, transposed=True, first_label=first_label)


DATASETS = {
    "mnist": Dataset(
        About(
            "MNIST",
            "digit",
            _DIGITS,
            "CC BY-SA 3.0",
            "MNIST was made by Yann LeCun and Corinna Cortes from NIST data",
        ),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://raw.githubusercontent.com/fgnt/mnist/master/",
        ),
        (
            RawFile(TEST_LABELS, 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
            RawFile(TRAIN_LABELS, 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            RawFile(TEST_IMAGES, 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            RawFile(TRAIN_IMAGES, 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ),
    ),
    "fashion-mnist": Dataset(
        About(
            "Fashion-MNIST",
            "image",
            _CLOTHES,
            "MIT, Zalando SE",
            "Xiao, Rasul & Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms "
            "(2017), arXiv:1708.07747",
        ),
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        (
            RawFile(TEST_LABELS, 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
            RawFile(TRAIN_LABELS, 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            RawFile(TEST_IMAGES, 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            RawFile(TRAIN_IMAGES, 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        ),
    ),
    "kmnist": Dataset(
        About(
            "Kuzushiji-MNIST",
            "character",
            ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
            "CC BY-SA 4.0",
            "KMNIST Dataset (created by CODH), adapted from Kuzushiji Dataset (created by NIJL and others), "
            "doi:10.20676/00000341; Clanuwat et al. (2018), arXiv:1812.01718",
        ),
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (
            RawFile(TEST_LABELS, 5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
            RawFile(TRAIN_LABELS, 29497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
            RawFile(TEST_IMAGES, 3041136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
            RawFile(TRAIN_IMAGES, 18165135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        ),
    ),
    "emnist-digits": _emnist("digits", "digit", _DIGITS),
    # Capital and small letters are one class; their labels count from 1.
    "emnist-letters": _emnist("letters", "letter", tuple(letter.lower() for letter in _CAPITALS), first_label=1),
    # The other small letters look like their capitals and are among these.
    "emnist-balanced": _emnist("balanced", "character", (*_DIGITS, *_CAPITALS, *"abdefghnqrt")),
}
