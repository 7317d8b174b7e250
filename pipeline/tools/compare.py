"""Has a pile drifted? Its scores, beside those of another or beside what is usual for the bundle that scored it."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError, ModelError, OutputError
from pipeline.inference.model import OnnxModel
from pipeline.inference.usual import ALL, Usual
from pipeline.jobs.scored import MOST_ROWS, Origin, Scores, read_scores
from pipeline.measures.drift import THRESHOLD, Drift, drift, from_quantiles, psi_by_chance
from pipeline.shared.files import atomic_file
from pipeline.shared.interface import FLOAT32, MANIFEST_FILE, MODEL_FILE, SCORER

SCORE = "score"
_MOST_LISTED = 10  # latents in the table
_WIDTH, _LABEL = 80, 60  # characters of a line, of a label in the picture


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    path: str
    rows: int
    """Of the result; of a bundle, the validation images from which its quantiles come."""
    every: int
    """One row in so many was taken."""
    bundle: bool


@dataclass(frozen=True)
class Comparison:
    """How far a pile is from what is usual, in each quantity."""

    usual: Side
    pile: Side
    threshold: float
    """Of the PSI, beyond which there is drift."""
    drifted: bool
    """Whether any quantity is beyond it."""
    quantities: dict[str, Drift]
    """The score, then the latents: `score`, `z_mean[0]` and on."""
    notes: tuple[str, ...]
    """What there is to say about the figures."""

    def __str__(self) -> str:
        """What is compared, a table of at most 80 columns, the latents with the largest PSI first, and the notes."""
        row = "{:<11} {:>9} {:>9} {:>8} {:>8} {:>5} {:>7} {:>6}  {}"
        latents = sorted((name for name in self.quantities if name != SCORE), key=lambda n: -self.quantities[n].psi)
        lines = [
            f"usual  {_describe(self.usual, _WIDTH - 7)}",
            f"pile   {_describe(self.pile, _WIDTH - 7)}",
            f"{'':11} {'rows of':^19} {'median of':^17}".rstrip(),
            row.format("quantity", "usual", "pile", "usual", "pile", "KS", "p", "PSI", "verdict"),
        ]
        for name in (SCORE, *latents[:_MOST_LISTED]):
            one = self.quantities[name]
            figures = f"{one.ks:.3f}", _p_value(one.p_value), f"{one.psi:.3f}"
            rows, medians = (one.usual_rows, one.rows), (one.usual_median, one.median)
            cells = (name, *(f"{count:,}" for count in rows), *map(_number, medians), *figures)
            lines.append(row.format(*cells, "drift" if one.psi > self.threshold else "no drift"))
        if rest := latents[_MOST_LISTED:]:
            largest = self.quantities[rest[0]].psi
            lines.append(f"and {len(rest)} more latents with a PSI of at most {largest:.3f}: see --json")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def compare(
    usual: str | Path, pile: str | Path, threshold: float = THRESHOLD, picture: Path | None = None
) -> Comparison:
    """Compare the scores of a pile with what is usual, and draw both.

    Args:
        usual: scores that `vae score` wrote, as a folder, a file or an address; or a bundle that holds a scorer, or its
            file, whose quantiles of the score of validation images are then what is usual. If only `pile` is a bundle,
            they are that all the same.
        pile: the scores to judge.
        threshold: of the population stability index, beyond which there is drift.
        picture: the PNG to write, if any.

    Raises:
        DataError: two bundles, or scores that can't be read.
        ModelError: the two were scored by different models, or the scorer doesn't tell what is usual.
        OutputError: the picture can't be written.
    """
    if picture is not None and (picture.suffix.lower() != ".png" or picture.is_dir()):
        raise OutputError(f"{picture} can't hold a picture; name a file that ends in .png")
    if _is_bundle(pile):
        if _is_bundle(usual):
            raise DataError(f"{usual} and {pile} both hold models; expected the scores of a pile, from `vae score`")
        usual, pile = pile, usual
    scores = read_scores(pile)
    bundle = _is_bundle(usual)
    reference = _read_bundle(Path(usual), scores.origin.precision) if bundle else read_scores(usual)
    _refuse_others(usual, reference.origin, pile, scores.origin)
    quantities = {SCORE: drift(reference.score, scores.score)}
    if reference.z_mean is not None and scores.z_mean is not None:
        for latent, values in enumerate(zip(reference.z_mean.T, scores.z_mean.T, strict=True)):
            quantities[f"z_mean[{latent}]"] = drift(*values)
    result = Comparison(
        Side(str(usual), reference.rows, reference.every, bundle),
        Side(str(pile), scores.rows, scores.every, bundle=False),
        threshold,
        any(one.psi > threshold for one in quantities.values()),
        quantities,
        _notes(reference, scores, threshold, bundle=bundle),
    )
    if picture is not None:
        _draw(result, reference, scores, picture)
    return result


def _draw(result: Comparison, reference: Scores, scores: Scores, picture: Path) -> None:
    from pipeline.tools.drift_plot import draw  # noqa: PLC0415  (Matplotlib takes a while to load)

    score, *latents = result.quantities.values()
    labels = f"usual: {_describe(result.usual, _LABEL)}", f"pile: {_describe(result.pile, _LABEL)}"
    with atomic_file(picture) as beside:
        draw(reference.score, scores.score, score, latents, result.threshold, labels, beside)


def _is_bundle(place: str | Path) -> bool:
    path = Path(place)
    holds = path.suffix == ".onnx" or any((path / name).is_file() for name in (MANIFEST_FILE, MODEL_FILE))
    return holds and "://" not in str(place)


def _read_bundle(path: Path, precision: str) -> Scores:
    """The validation images of a scorer, by the quantiles of their score that its file tells."""
    in_bundle = (path / MANIFEST_FILE).is_file()
    model = OnnxModel(path, SCORER, precision=precision if in_bundle else FLOAT32, provider="cpu")
    known = Usual.read(model.facts)
    if known is None:
        raise ModelError(f"{model.path} doesn't tell the quantiles of the score of validation images; export it again")
    every = -(-known.images // MOST_ROWS)
    score = from_quantiles(known.quantiles[ALL], -(-known.images // every))
    return Scores(score, None, known.images, every, Origin(model.sha256, precision, None, 0))


def _refuse_others(usual: str | Path, reference: Origin, pile: str | Path, origin: Origin) -> None:
    """Raise `ModelError` unless the same models gave the numbers of both."""
    if (reference.model_sha256, reference.precision) != (origin.model_sha256, origin.precision):
        raise ModelError(
            f"{usual} is of the scorer {_short(reference)}, {pile} of {_short(origin)}; "
            "score both piles with one model, in one precision"
        )
    if not reference.latent_dim or not origin.latent_dim:
        return
    if reference.latent_dim != origin.latent_dim:
        raise ModelError(
            f"{usual} has {reference.latent_dim} latent(s), {pile} has {origin.latent_dim}; score both with one bundle"
        )
    if reference.encoder_sha256 != origin.encoder_sha256:
        raise ModelError(f"the latents of {usual} and {pile} are of different encoders; score both with one bundle")


def _notes(reference: Scores, scores: Scores, threshold: float, *, bundle: bool) -> tuple[str, ...]:
    notes = []
    if (reference.z_mean is None) != (scores.z_mean is None):
        without = "the pile has" if scores.z_mean is None else "what is usual has"
        remedy = "a bundle tells the score alone" if bundle else f"{without} none; score it with --latents"
        notes.append(f"latents were not compared: {remedy}")
    chance = psi_by_chance(len(reference.score), len(scores.score))
    if chance > threshold / 2:
        notes.append(f"so few rows give a PSI of about {chance:.2f} by chance")
    return tuple(notes)


def _describe(side: Side, most: int) -> str:
    """What it is in at most so many characters, if there is room for any of its path."""
    about = f", {side.rows:,} {'validation images' if side.bundle else 'rows'}"
    about += f", 1 in {side.every:,} taken" if side.every > 1 else ""
    path = side.path if side.path.isprintable() else ascii(side.path)[1:-1]
    room = most - len(about)
    return (path if len(path) <= room else f"...{path[3 - room :]}") + about


def _short(origin: Origin) -> str:
    return f"{origin.model_sha256[:12]}... ({origin.precision})"


def _p_value(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}" if value > 1e-300 else "<1e-300"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10_000 else f"{value:.1e}"
