"""How good the digits of a model are, beside digits that are known to be good, blurred, one-sided or copies.

    make bench-samples
    python -m benchmarks.samples another/exports --prepared another/prepared

The first row is the floor: real training digits. The rows below it say what each figure notices. Everything goes
through the judge of the data set, which is the same for every model.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.data.prepared import read_split
from pipeline.evaluating.sample_figures import FLOOR, choose, count_samples, latent_sources
from pipeline.inference import Decoder
from pipeline.measures.corruptions import Pixels, blurred
from pipeline.measures.judge import open_judge
from pipeline.measures.samples import Comparison
from pipeline.shared.interface import GENERATOR

COPIES = 20  # of each of few digits


def known(images: Pixels, labels: NDArray[np.uint8] | None, count: int, seed: int) -> dict[str, Pixels]:
    """Sets of `count` training digits with a fault that has a name, the first without one."""
    generator = np.random.default_rng(seed)
    real = images[choose(len(images), count, generator)]
    sets = {FLOOR: real, "blurred by 0.5 pixels": blurred(real, 0.5), "blurred by 1 pixel": blurred(real, 1.0)}
    if labels is not None:
        lower = np.flatnonzero(labels < (labels.max() + 1) / 2)
        half = images[lower[choose(len(lower), min(count, len(lower)), generator)]]
        sets["the first half of the classes"] = half
    few = generator.permutation(real)[: count // COPIES]
    return {**sets, f"{len(few):,} of them {COPIES} times": np.tile(few, (COPIES, 1, 1))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", type=Path, nargs="?", default=Path("exports"))
    parser.add_argument("--prepared", type=Path, default=Path("data/prepared"))
    parser.add_argument("--judge", type=Path, default=Path("judge"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    (train, labels), (test, _) = (read_split(options.prepared, split) for split in ("train", "test"))
    judge, _ = open_judge(options.judge)
    count = count_samples(len(train), len(test))
    compare = Comparison(test[choose(len(test), count, np.random.default_rng(options.seed))], judge)
    decoders = {"decoder": Decoder(options.exports / "decoder")}
    if (options.exports / GENERATOR).is_dir():
        decoders[GENERATOR] = Decoder(options.exports / GENERATOR)
    print(f"{count:,} images of each kind, against as many test images", flush=True)
    with threadpool_limits(1, user_api="blas"):
        for row, (name, images) in enumerate(known(train, labels, count, options.seed).items()):
            show(name, compare(images), heading=row == 0)
        for name, decoder in decoders.items():
            for sampler, source in latent_sources(decoder, count, options.seed).items():
                show(f"{name}, {sampler}", compare(decoder.pixels(source.read(0, count)().z)))


def show(name: str, figures: dict[str, float], *, heading: bool = False) -> None:
    if heading:
        print(f"{'':32}" + "".join(f"{figure.replace('_', ' '):>18}" for figure in figures))
    print(f"{name:32}" + "".join(f"{value:18.4f}" for value in figures.values()), flush=True)


if __name__ == "__main__":
    main()
