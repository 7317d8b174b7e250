"""The model card: `exports/README.md`, for somebody who has never seen this repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.shared.interface import HALVES, MIXTURE, VARIANT_FILES

if TYPE_CHECKING:
    from collections.abc import Mapping

CARD_FILE = "README.md"
_SNIPPETS = Path(__file__).parent / "snippets"
_LANGUAGES = {
    "python.py": ("Python", "python"),
    "node.mjs": ("Node", "js"),
    "browser.html": ("A browser", "html"),
    "cpp.cc": ("C++ (not tested: no package that the tests can install has ONNX Runtime's headers)", "cpp"),
}
_SOURCES = {
    "mnist": "the 60,000 training digits of MNIST, {held_out:,} of them held out for validation",
    "sample": "**a sample of 5,000 digits of MNIST, not the full set** ({held_out:,} held out for validation)",
}


def model_card(manifest: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        manifest: of the whole bundle, as `export` returns it.
        figures: of the test digits, as `evaluate` returns them.
    """
    data = _SOURCES[manifest["data"]["source"]].format(held_out=manifest["validation"]["images"])
    return "\n\n".join(
        [
            _HEAD.format(latent_dim=manifest["latent_dim"], data=data),
            "## Figures",
            _elbos(manifest["validation"], figures["test"]),
            _FIGURES_NOTE,
            _more_figures(figures),
            _MORE_FIGURES_NOTE,
            "## Files",
            _interfaces(manifest),
            _variants(manifest),
            _VARIANTS_NOTE,
            "## Use",
            *(_snippet(file, *about) for file, about in _LANGUAGES.items()),
            _TAIL.format(
                package_version=manifest["package_version"],
                params_sha256=manifest["params_sha256"],
                tolerance=manifest["tolerance"],
            ),
        ]
    )


def _elbos(validation: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    rows = [
        "| digits | negative ELBO | = reconstruction | + KL |",
        "|---|---|---|---|",
        *(
            f"| {about['images']:,} {name} | {about['negative_elbo']:.2f} | {about['reconstruction']:.2f} "
            f"| {about['kl']:.2f} |"
            for name, about in (("validation", validation), ("test", test))
        ),
    ]
    return "\n".join(rows)


def _more_figures(figures: Mapping[str, Any]) -> str:
    likelihood, latents = figures["likelihood"], figures["latents"]
    rows = [
        f"| test digits, binarised: -log p(x), upper bound of {likelihood['importance_samples']:,} draws "
        f"(arXiv:1509.00519) | {likelihood['negative_log_likelihood']:.2f} \N{PLUS-MINUS SIGN} "
        f"{likelihood['standard_error']:.2f} nats |",
        f"| the same digits: negative ELBO | {likelihood['negative_elbo']:.2f} nats |",
        f"| active latents | {latents['active']} of {len(latents['kl_per_latent'])} |",
        *(
            f"| digits told by {name} from `z_mean`; from pixels "
            f"| {latents[f'{key}_accuracy']:.1%}; {latents[f'{key}_accuracy_pixels']:.1%} |"
            for key, name in (("knn", "their nearest neighbours"), ("linear_probe", "logistic regression"))
        ),
        f"| KL of all latents together from N(0, I) | {latents['aggregate_kl']:.2f} nats |",
        *(
            f"| precision and recall of digits drawn from the {name} (arXiv:1904.06991, 64 principal components) "
            f"| {sample['precision']:.1%}, {sample['recall']:.1%} |"
            for name, sample in figures["samples"].items()
        ),
    ]
    return "\n".join(["| figure | |", "|---|---|", *rows])


def _interfaces(manifest: Mapping[str, Any]) -> str:
    rows = ["| model | | tensor | meaning |", "|---|---|---|---|"]
    for interface in [*HALVES.values(), *([MIXTURE] if MIXTURE.role in manifest else [])]:
        for kind, tensors in (("input", interface.inputs), ("output", interface.outputs)):
            rows += [
                f"| {interface.role} | {kind} | `{t.resolved(manifest['latent_dim'])}` | {t.meaning} |" for t in tensors
            ]
    return "\n".join(rows)


def _variants(manifest: Mapping[str, Any]) -> str:
    sizes = {file["path"]: file["bytes"] for file in manifest["files"]}
    exact = manifest["validation"]["negative_elbo"]
    rows = ["| file | numbers | bytes | mean difference | largest | negative ELBO |", "|---|---|---|---|---|---|"]
    for model in manifest["models"].values():
        for name in VARIANT_FILES:
            variant = model["variants"].get(name)
            if variant is None:
                continue
            start = f"| `{variant['file']}` | {name} | {sizes[variant['file']]:,} |"
            if name == "float32":
                rows.append(f"{start} | | {exact:.2f} |")
                continue
            mean, largest = (max(variant[f"{key}_difference"].values()) for key in ("mean", "largest"))
            cost = variant["negative_elbo"] - exact
            rows.append(f"{start} {mean:.5f} | {largest:.4f} | {cost:+.3f} |")
    if MIXTURE.role in manifest:
        file = manifest[MIXTURE.role]["file"]
        rows.append(f"| `{file}` | float32 | {sizes[file]:,} | | | |")
    return "\n".join(rows)


def _snippet(file: str, title: str, language: str) -> str:
    return f"### {title}\n\n```{language}\n{(_SNIPPETS / file).read_text().rstrip()}\n```"


_HEAD = """# Encoder and decoder of a variational autoencoder of handwritten digits

Two ONNX models with {latent_dim} latents. The encoder turns a picture of a digit into the mean and the log
variance of a Gaussian over the latents; the decoder turns latents into a picture. Together they are a
variational autoencoder (Kingma & Welling 2013, arXiv:1312.6114), trained on {data}.

Everything that is needed to check them is in this folder: `vae verify .` (numpy and onnxruntime suffice) holds
every file to `manifest.json`, the models to their test vectors in the layout of the ONNX Model Zoo, and each
variant to its budget. `encoder/` and `decoder/` can also be taken one at a time; each has a manifest of its
own."""

_FIGURES_NOTE = """\
In nats per digit, summed over pixels and latents, averaged over digits, measured through the float32 files.
The reconstruction is the binary cross-entropy of grey levels in [0, 1]: the classic objective of this model, not a
likelihood, and not comparable with figures on binarised digits. The test digits were used for nothing but these
tables."""

_MORE_FIGURES_NOTE = """\
Each pixel of a binarised digit is ink with the probability of its grey level, drawn once. Precision is the share of
generated digits that lie among test digits, recall the share of test digits that lie among generated ones; with few
latents these lie on a thin sheet that test digits do not meet, so that recall is near 0."""

_VARIANTS_NOTE = """\
The differences are from float32, over the validation digits: of a pixel for the decoder, of `z_mean` or
`z_log_var` for the encoder. The cost in nats is that of both halves together. int8 is quantised statically
(weights per channel, QDQ) and calibrated on training digits, so a digit's result does not depend on its batch.
How much faster a variant is depends on the processor: `vae verify .` measures it where you are. fp16 is for
GPUs and the web; most CPUs run it no faster than float32."""

_TAIL = """## Limits

The models know 28 x 28 pixel digits, white on black, centred as in MNIST, and nothing else: other pictures are
encoded without complaint and reconstructed as digits. Samples of the prior are blurred, and not all are digits.

## Origin

MNIST was made by Yann LeCun and Corinna Cortes from NIST data; licence CC BY-SA 3.0. Exported by
mnist-vae-pipeline {package_version} (Apache-2.0), parameters with SHA-256 `{params_sha256}`. Opset 17, IR 8, no
custom operators. ONNX Runtime agreed with Keras and with ONNX's reference evaluator on validation digits within
{tolerance[absolute]:g} + {tolerance[relative]:g} of the value, for every element, at batch sizes
{tolerance[batch_sizes]}.
"""
