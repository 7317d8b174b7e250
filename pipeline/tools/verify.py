"""What a bundle or a model file is, and whether it does what it says: NumPy and ONNX Runtime are all it takes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from pipeline.errors import BundleError, FormatError
from pipeline.inference.bundle import open_bundle
from pipeline.inference.manifest import Entry, Manifest, Tolerance, Variant
from pipeline.inference.mixture import Mixture
from pipeline.inference.model import Floats, OnnxModel, open_session
from pipeline.inference.tensor_file import Values, read_tensor
from pipeline.inference.usual import Usual
from pipeline.shared.interface import BATCH, FLOAT32, LATENT, MIXTURE, MODEL_FILE, SCORER, Interface, Tensor, describe

_SPEED_BATCH = 512
_SPEED_ROUNDS = 5  # at least
_SPEED_SECONDS = 0.2  # for each file, if that takes more rounds
_ROUNDING = 1e-9  # of numbers with four digits
_LONG, _START = 100, 16  # characters of what a file says: more are cut off, in the text alone

Differences = dict[str, float]


@dataclass(frozen=True)
class Checked:
    """A file that passed: how far it is from the test vectors, by output, and how fast it is here."""

    model: str
    variant: str
    file: str
    bytes: int
    largest_difference: Differences
    mean_difference: Differences
    budget: float
    """Of the mean difference; of float32, the absolute part of the tolerance of each value."""
    images_per_second: float = 0.0  # until it is measured; rows of whatever the role gives
    speed: float = 0.0
    """As a multiple of the float32 variant's, one thread each, medians of alternating rounds."""


@dataclass(frozen=True)
class Verification:
    """A bundle in which nothing is off."""

    folder: str
    files: int
    checked: tuple[Checked, ...]

    def __str__(self) -> str:
        """A table of at most 80 columns."""
        row = "{:<10}{:<7} {:<20} {:>7} {:>7} {:>7} {:>6} {:>6} {}"
        lines = [row.format("model", "variant", "file", "size", "largest", "mean", "budget", "speed", "ok")]
        for one in self.checked:
            differences = (f"{max(d.values()):.1e}" for d in (one.largest_difference, one.mean_difference))
            file, size, speed = one.file.rpartition("/")[2], _size(one.bytes), f"{one.speed:.1f}x"
            lines.append(row.format(one.model, one.variant, file, size, *differences, f"{one.budget:g}", speed, "ok"))
        return "\n".join(lines)


@dataclass(frozen=True)
class Info:
    """What an ONNX file says of itself."""

    file: str
    bytes: int
    sha256: str
    producer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: dict[str, str]

    def __str__(self) -> str:
        """One line for each thing; of what is long, as the quantiles of a scorer, the start."""
        facts = [
            ("file", self.file),
            ("size", f"{self.bytes:,} bytes"),
            ("sha256", self.sha256),
            ("producer", self.producer),
            *(("input", text) for text in self.inputs),
            *(("output", text) for text in self.outputs),
            *sorted(self.metadata.items()),
        ]
        width = max(len(name) for name, _ in facts)
        return "\n".join(f"{_printable(name):<{width}}  {_shortened(_printable(value))}" for name, value in facts)


def verify(folder: Path) -> Verification:
    """Check a bundle: the bytes of its files, then of each model the interface, test vectors and variants.

    The float32 variant reproduces each value of the test vectors within the tolerance of the manifest; every
    other variant differs from them by no more than its budget, averaged over each output.

    Raises:
        BundleError: the first thing that is off, naming the file.
        ModelError: a file is not an ONNX file with the interface of its role.
    """
    bundle = open_bundle(folder)
    with np.errstate(all="ignore"):  # what is not finite is refused, not warned of
        passed = [_check_model(folder, entry, bundle) for entry in bundle.models.values()]
    measured = []
    for inputs, files, variants in passed:
        rates = _rows_per_second(files, inputs)
        for variant, rate in zip(variants, rates, strict=True):
            measured.append(replace(variant, images_per_second=rate, speed=rate / rates[0]))
    return Verification(str(folder), len(bundle.files), tuple(measured))


def info(path: Path) -> Info:
    """Describe an ONNX file, or the `model.onnx` of a folder, from the file alone.

    Raises:
        ModelError: not a file that ONNX Runtime opens.
    """
    file = path / MODEL_FILE if path.is_dir() else path
    session, digest = open_session(file)
    about = session.get_modelmeta()
    return Info(
        str(file),
        file.stat().st_size,
        digest,
        about.producer_name,
        tuple(describe(node) for node in session.get_inputs()),
        tuple(describe(node) for node in session.get_outputs()),
        dict(about.custom_metadata_map),
    )


def _check_model(folder: Path, entry: Entry, bundle: Manifest) -> tuple[list[Values], list[OnnxModel], list[Checked]]:
    """The inputs of the test vectors, and the variants that do what the manifest says, float32 first."""
    latent_dim, tolerance = bundle.latent_dim, bundle.tolerance
    sets = [_read_vectors(folder, entry.interface, files, latent_dim) for files in entry.vectors]
    files: list[OnnxModel] = []
    checked = []
    for name, variant in sorted(entry.variants.items(), key=lambda item: item[0] != FLOAT32):
        file = folder / variant.file
        opened = _open(file, entry.interface, bundle.checksums(folder))
        if opened.interface.latent is not None and opened.latent_dim != latent_dim:
            raise BundleError(f"{file} has {opened.latent_dim} latent(s), the manifest says {latent_dim}")
        if entry.interface == SCORER:
            _check_scorer(opened, name, entry)
        differences = [_compare(opened, inputs, expected, variant, tolerance) for inputs, expected in sets]
        names = list(differences[0])
        largest = {name: max(float(one[name].max()) for one in differences) for name in names}
        mean = {name: max(float(one[name].mean(dtype=np.float64)) for one in differences) for name in names}
        budget = tolerance.absolute if variant.budget is None else variant.budget.mean_difference
        files.append(opened)
        size = file.stat().st_size
        checked.append(Checked(entry.interface.role, name, variant.file, size, largest, mean, budget))
    return sets[0][0], files, checked


def _check_scorer(opened: OnnxModel, name: str, entry: Entry) -> None:
    """Hold what a scorer tells of usual images to the manifest, and what that says of its price to its budget."""
    usual, variant, exact = Usual.read(opened.facts), entry.variants[name], entry.variants[FLOAT32]
    if usual is None:
        raise BundleError(f"{opened.path} does not say in its metadata what score is usual; run `vae export` again")
    listed = {key: entry.facts.get(key) for key in ("quantiles", "images")}
    if name == FLOAT32 and listed != {"quantiles": usual.lists(), "images": usual.images}:
        raise BundleError(f"{opened.path} tells another score as usual than the manifest; download the bundle again")
    most = None if variant.budget is None else variant.budget.area_under_curve
    if most is not None and not (exact.area_under_curve or 0) - (variant.area_under_curve or 0) <= most + _ROUNDING:
        raise BundleError(
            f"{opened.path} has an area under the curve of {variant.area_under_curve}, that of {FLOAT32} is "
            f"{exact.area_under_curve}, budget {most:g} less"
        )


def _compare(
    opened: OnnxModel, inputs: list[Values], expected: list[Values], variant: Variant, tolerance: Tolerance
) -> dict[str, Floats]:
    """How far each value of each output is from a set of test vectors."""
    differences = {}
    for output, found, wanted in zip(opened.interface.outputs, opened.run(*inputs), expected, strict=True):
        if found.shape != wanted.shape:
            raise BundleError(f"{opened.path} gives {output.name} as {found.shape}, the test vector is {wanted.shape}")
        differences[output.name] = np.abs(found - wanted)
        complaint = _complaint(variant, tolerance, differences[output.name], wanted)
        if complaint:
            raise BundleError(f"{opened.path} does not reproduce the test vector of {output.name}: {complaint}")
    return differences


def _open(file: Path, interface: Interface, listed: Mapping[Path, str]) -> OnnxModel:
    return Mixture(file) if interface == MIXTURE else OnnxModel(file, interface, listed=listed)


def _read_vectors(
    folder: Path, interface: Interface, files: Sequence[str], latent_dim: int
) -> tuple[list[Values], list[Values]]:
    """The inputs and the outputs of a model's test data set."""
    vectors: list[Values] = []
    sizes = {LATENT: latent_dim}  # by axis; the others are those of the first tensor that has the axis
    for path, tensor in zip(files, (*interface.inputs, *interface.outputs), strict=True):
        file = folder / path
        try:
            name, values = read_tensor(file)
        except FormatError as error:
            raise BundleError(str(error)) from error
        if len(values.shape) == len(tensor.shape) and values.size:
            for axis, size in zip(tensor.shape, values.shape, strict=True):
                sizes.setdefault(str(axis), size)
        wanted = str(tensor.sized(sizes))
        found = str(Tensor(name, str(values.dtype), values.shape))
        if found != wanted:
            raise BundleError(f"{file} holds {_printable(found)}, expected {wanted}; download the bundle again")
        vectors.append(values)
    count = len(interface.inputs)
    return vectors[:count], vectors[count:]


def _complaint(variant: Variant, tolerance: Tolerance, difference: Floats, wanted: Values) -> str:
    """How a difference goes beyond what is allowed, else nothing; NaN and infinity do."""
    if variant.budget is None:
        if (np.isfinite(difference) & (difference <= tolerance.absolute + tolerance.relative * np.abs(wanted))).all():
            return ""
        allowed = f"{tolerance.absolute:g} + {tolerance.relative:g} * |value|"
        return f"off by up to {difference.max():.1e}, tolerance {allowed}"
    mean = difference.mean(dtype=np.float64)
    if mean <= variant.budget.mean_difference:
        return ""
    return f"off by {mean:.1e} on average, budget {variant.budget.mean_difference:g}"


def _rows_per_second(files: list[OnnxModel], inputs: list[Values]) -> list[float]:
    """The rate of each model on one thread, in alternating rounds, so that all see the same machine."""
    batch = [
        np.resize(values, (_SPEED_BATCH, *values.shape[1:])) if BATCH in tensor.shape else values
        for tensor, values in zip(files[0].interface.inputs, inputs, strict=True)
    ]
    seconds: list[list[float]] = [[] for _ in files]
    end = time.perf_counter() + _SPEED_SECONDS * len(files)
    while len(seconds[0]) < _SPEED_ROUNDS or time.perf_counter() < end:
        for opened, taken in zip(files, seconds, strict=True):
            start = time.perf_counter()
            opened.run(*batch)
            taken.append(time.perf_counter() - start)
    return [_SPEED_BATCH / median(taken) for taken in seconds]


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_START]}... ({len(text):,} characters: see --json)"


def _printable(text: str) -> str:
    """On one line, without control characters: a file may say anything."""
    return text if text.isprintable() else ascii(text)
