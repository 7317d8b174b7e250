"""The model card: `exports/README.md`, for somebody who has never seen this repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.evaluating.definitions import present
from pipeline.evaluating.variants import variants
from pipeline.shared.interface import GENERATOR, ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.data.prepared import About

CARD_FILE = "README.md"
_HERE = Path(__file__).parent
_HARDLY_SEEN = 0.9  # area under the curve below which a corruption is named among the limits
_SNIPPETS = {  # title and language of each
    "python.py": ("Python", "python"),
    "score.py": ("Python: how unusual an image is", "python"),
    "node.mjs": ("Node", "js"),
    "score.mjs": ("Node: how unusual an image is", "js"),
    "browser.html": ("A browser", "html"),
    "cpp.cc": ("C++ (not tested: no package that the tests can install has ONNX Runtime's headers)", "cpp"),
}


def model_card(manifest: Mapping[str, Any], figures: Mapping[str, Any], stats: Mapping[str, Any], about: About) -> str:
    """The card as Markdown.

    Args:
        manifest: of the whole bundle, as `export` returns it.
        figures: of the test images, as `evaluate` returns them.
        stats: of the data, as `prepare` returns them.
        about: what the images show.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=False,  # noqa: S701  (Markdown, made of our own words and of numbers)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("card.md").render(
        manifest=manifest,
        hardly_seen={
            name.replace("_", " "): row["area_under_curve"]
            for name, row in figures["scores"].items()
            if isinstance(row, dict) and row["area_under_curve"] < _HARDLY_SEEN
        },
        test=figures["test"],
        generator=GENERATOR in figures,
        groups=[
            present(name, figures[name], about.noun)
            for name in ("likelihood", "latents", "generator", "samples", "scores")
            if name in figures
        ],
        about=about,
        source=stats["source"],
        training_images=sum(stats["splits"][split]["images"] for split in ("train", "validation")),
        interfaces=[one for role, one in ROLES.items() if role in {**manifest["models"], **manifest}],
        variants=list(variants(manifest)),
        snippets=[(*about, (_HERE / "snippets" / file).read_text().rstrip()) for file, about in _SNIPPETS.items()],
    )
