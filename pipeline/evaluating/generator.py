"""The generator that lies in a bundle, a second decoder, and the encoder whose latents it is made for."""

from pathlib import Path

from pipeline.inference.session import Decoder, Encoder, check_pair
from pipeline.shared.interface import AT_GENERATOR, ENCODER, GENERATOR, MANIFEST_FILE


def open_generator(exports: Path) -> tuple[Encoder, Decoder] | None:
    """The generator, and the encoder whose latents it is made for; None if there is no generator.

    Raises:
        ModelError: a file is damaged, or they are not of one model.
    """
    folder = exports / GENERATOR
    if not (folder / MANIFEST_FILE).is_file():
        return None
    own = folder / AT_GENERATOR[ENCODER.role].folder
    pair = Encoder(own if own.is_dir() else exports / ENCODER.folder), Decoder(folder)
    check_pair(*pair)
    return pair
