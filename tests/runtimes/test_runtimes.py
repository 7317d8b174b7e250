"""The bundle's test vectors in every runtime that a stranger may have, and the model card's snippets as they stand.

`VAE_BUNDLE=exports pytest tests/runtimes` takes a real bundle; otherwise a small one of random weights is made here.
What the runtimes need is installed by install.sh and by Debian's package chromium; what is missing is skipped.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.version_converter import convert_version

from pipeline.exporting.check import GatherElements
from pipeline.exporting.scorer import after_products, append_scores
from pipeline.exporting.variants import write_fp16, write_int8
from pipeline.inference import Scorer
from pipeline.shared.interface import ROLES, VARIANT_FILES
from pipeline.training.surface import LOGITS
from tests import mixtures, onnx_models, surfaces
from tests.runtimes import run_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Results = dict[str, Any]  # per file a list, with the differences of each output, or {"error": ...}

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SNIPPETS = ROOT / "pipeline/evaluating/snippets"
FILES = [(role, variant) for role, interface in ROLES.items() for variant in interface.variants]
# The largest mean difference of the variants. float32 is held to 1e-4 absolute + 1e-4 relative at every element.
BUDGETS = {
    ("encoder", "int8"): 0.1,
    ("decoder", "int8"): 0.01,
    ("encoder", "fp16"): 0.01,
    ("decoder", "fp16"): 0.001,
    ("scorer", "int8"): 2,
    ("scorer", "fp16"): 0.2,
}
ART = " .:-=+*#%@"  # the snippets draw with these


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with encoder, decoder and scorer, each with three models and test vectors, a mixture and a renderer."""
    if given := os.environ.get("VAE_BUNDLE"):
        return Path(given).resolve()
    folder = tmp_path_factory.mktemp("bundle")
    rng = np.random.default_rng(0)
    inputs = {
        "encoder": rng.integers(0, 256, (500, 28, 28), np.uint8),
        "decoder": rng.standard_normal((500, 2)).astype(np.float32),
    }
    inputs["scorer"] = inputs["encoder"]
    models = {"encoder": onnx_models.encoder(), "decoder": onnx_models.decoder(), "scorer": scorer()}
    for role, model in models.items():
        write_variants(onnx_models.save(model, folder / role), inputs[role])
        write_vectors(folder / role, inputs[role][:16])
    onnx_models.write_manifest(folder / "scorer", ["scorer"])
    return surfaces.add(mixtures.add(folder))


def scorer() -> onnx.ModelProto:
    """What the exporter puts behind the logits and the latents of the small halves."""
    latents = {"e_z_mean": "z_mean", "e_z_log_var": "z_log_var"}
    whole = onnx.shape_inference.infer_shapes(onnx_models.scorer())
    model = onnx.utils.Extractor(whole).extract_model(["image"], [*latents, LOGITS])
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [latents.get(name, name) for name in names]
        node.name = node.output[0]  # as a converted model's have them
    for value in model.graph.output:
        value.name = latents.get(value.name, value.name)
    append_scores(model)
    helper.set_model_props(model, {one.key: one.value for one in whole.metadata_props})
    onnx.checker.check_model(model, full_check=True)
    return model


def write_variants(folder: Path, tensors: NDArray[Any]) -> None:
    source = folder / VARIANT_FILES["float32"]
    model = onnx.load(source)
    write_int8(source, folder / VARIANT_FILES["int8"], model.graph.input[0].name, tensors)
    write_fp16(source, folder / VARIANT_FILES["fp16"], after_products(model) if folder.name == "scorer" else ())


def path_of(role: str, variant: str) -> str:
    return f"{ROLES[role].folder}/{VARIANT_FILES[variant]}"


def write_vectors(folder: Path, tensor: NDArray[Any]) -> None:
    (folder / "test_data_set_0").mkdir()
    session = ort.InferenceSession(folder / VARIANT_FILES["float32"])
    names = [node.name for node in (*session.get_inputs(), *session.get_outputs())]
    files = ["input_0.pb", *(f"output_{i}.pb" for i in range(len(names) - 1))]
    arrays = [tensor, *session.run(None, {names[0]: tensor})]
    for name, file, array in zip(names, files, arrays, strict=True):
        (folder / "test_data_set_0" / file).write_bytes(numpy_helper.from_array(array, name).SerializeToString())


# Runtimes: each takes the bundle and the files, skips in words if it is not here, and returns the results.


def locked_onnxruntime(bundle: Path, files: list[str]) -> Results:
    return run_vectors.check(bundle, files, run_vectors.on_onnxruntime)


def reference_evaluator(bundle: Path, files: list[str]) -> Results:
    def run(model: Path, inputs: run_vectors.Inputs) -> list[NDArray[Any]]:
        # It knows DequantizeLinear from opset 19 on; for int8 nothing about it changed there.
        int8 = model.name == VARIANT_FILES["int8"]
        proto = convert_version(onnx.load(model), 19) if int8 else str(model)
        evaluator = ReferenceEvaluator(proto, new_ops=[GatherElements])
        with np.errstate(over="ignore"):  # its sigmoid exponentiates before it divides
            return list(evaluator.run(None, dict(inputs)))

    return run_vectors.check(bundle, files, run)


def environment(name: str, runtime: str, bundle: Path, files: list[str]) -> Results:
    """In .venvs/`name`, which install.sh makes from `name`.txt."""
    answer = output_of([python_of(name), HERE / "run_vectors.py", runtime, bundle, *files])
    pinned = version_in(HERE / f"{name}.txt", runtime)
    assert answer["version"].startswith(pinned), f"not {pinned}: run tests/runtimes/install.sh again"
    return answer["results"]


def onnxruntime_node(bundle: Path, files: list[str]) -> Results:
    return output_of([node(), HERE / "node.mjs", bundle, *files])["results"]


def onnxruntime_web(bundle: Path, files: list[str]) -> Results:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in (
            HERE / "vectors.html",
            HERE / "run_vectors.mjs",
            HERE / "node_modules",
            *{bundle / Path(interface.folder).parts[0] for interface in ROLES.values()},
        ):
            (folder / source.name).symlink_to(source)
        return in_browser(folder, f"vectors.html?{','.join(files)}", "window.results")["results"]


RUNTIMES: dict[str, Callable[[Path, list[str]], Results]] = {
    "onnxruntime, locked": locked_onnxruntime,
    "onnxruntime, clean environment": functools.partial(environment, "clean", "onnxruntime"),
    "onnxruntime, oldest": functools.partial(environment, "oldest", "onnxruntime"),
    "onnxruntime-node": onnxruntime_node,
    "onnxruntime-web in Chromium": onnxruntime_web,
    "OpenVINO": functools.partial(environment, "openvino", "openvino"),
    "ONNX reference evaluator": reference_evaluator,
}


@pytest.fixture(scope="session")
def results_of(bundle: Path) -> Callable[[str], Results]:
    """The results of a runtime for all files of the bundle, computed once."""
    files = [path_of(role, variant) for role, variant in FILES]
    return functools.cache(lambda runtime: RUNTIMES[runtime](bundle, files))


@pytest.mark.parametrize(("role", "variant"), FILES)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_vectors_pass(results_of: Callable[[str], Results], runtime: str, role: str, variant: str) -> None:
    outputs = results_of(runtime)[path_of(role, variant)]
    assert "error" not in outputs, outputs
    assert len(outputs) == len(ROLES[role].outputs)
    for output in outputs:
        assert "error" not in output, output
        assert None not in output.values(), f"not a number: {output}"
        if variant == "float32":
            assert output["beyond"] <= 1, output
        else:
            assert output["mean"] <= BUDGETS[role, variant], output


@pytest.mark.parametrize("runtime", ["onnxruntime, locked", "onnxruntime-node"])
def test_vectors_that_are_wrong_do_not_pass(bundle: Path, tmp_path: Path, runtime: str) -> None:
    shutil.copytree(bundle / "decoder", tmp_path / "decoder")
    file = tmp_path / "decoder/test_data_set_0/output_0.pb"
    image = numpy_helper.to_array(onnx.load_tensor(file)).copy()
    image[-1, -1, -1] += 0.001
    file.write_bytes(numpy_helper.from_array(image).SerializeToString())
    (output,) = RUNTIMES[runtime](tmp_path, ["decoder/model.onnx"])["decoder/model.onnx"]
    assert output["beyond"] > 1
    assert output["largest"] == pytest.approx(0.001, rel=0.01)


@pytest.mark.parametrize("package", ["onnxruntime", "numpy"])
def test_clean_environment_has_the_locked_versions(package: str) -> None:
    assert version_in(HERE / "clean.txt", package) == version_in(ROOT / "requirements/dev.txt", package)


@pytest.mark.parametrize("snippet", ["python.py", "node.mjs"])
def test_snippet_draws_the_middle_digit(bundle: Path, tmp_path: Path, snippet: str) -> None:
    folder = bundle_with(snippet, bundle, tmp_path)
    program = node() if snippet == "node.mjs" else installed_python("clean") or sys.executable
    drawn = subprocess.run([program, snippet], cwd=folder, check=True, capture_output=True, text=True).stdout
    shades = np.array([[ART.index(character) for character in line] for line in drawn.splitlines()])
    assert np.abs(shades - middle_digit(bundle) * 9.99).max() <= 1.01


def test_browser_snippet_draws_the_middle_digit(bundle: Path, tmp_path: Path) -> None:
    folder = bundle_with("browser.html", bundle, tmp_path)
    pixels = "Array.from(document.querySelector('canvas').getContext('2d').getImageData(0, 0, 28, 28).data)"
    rgba = in_browser(folder, "browser.html", f"(p => p[3] && p)({pixels})")
    assert np.abs(np.reshape(rgba, (28, 28, 4))[..., 0] - middle_digit(bundle) * 255).max() <= 1.01


@pytest.mark.parametrize("snippet", ["score.py", "score.mjs"])
def test_snippet_scores_a_bar_and_stripes(bundle: Path, tmp_path: Path, snippet: str) -> None:
    folder = bundle_with(snippet, bundle, tmp_path, "scorer")
    program = node() if snippet == "score.mjs" else installed_python("clean") or sys.executable
    said = subprocess.run([program, snippet], cwd=folder, check=True, capture_output=True, text=True).stdout
    bar, stripes = np.zeros((2, 28, 28), np.uint8)
    bar[4:24, 12:16] = stripes[::2] = 255
    scorer = Scorer(bundle / "scorer" / VARIANT_FILES["float32"])
    found_by_us = scorer(np.stack([bar, stripes])).score
    percentiles = scorer.usual.percentile(found_by_us)
    for line, score, percentile in zip(said.splitlines(), found_by_us, percentiles, strict=True):
        found = re.fullmatch(r"score (\S+), more than (\S+) % of the images held out", line)
        assert [float(number) for number in found.groups()] == pytest.approx([score, percentile], abs=0.16)


def bundle_with(snippet: str, bundle: Path, folder: Path, role: str = "decoder") -> Path:
    shutil.copytree(bundle / role, folder / role)
    shutil.copy(SNIPPETS / snippet, folder)
    (folder / "node_modules").symlink_to(HERE / "node_modules")
    return folder


def middle_digit(bundle: Path) -> NDArray[np.float32]:
    session = ort.InferenceSession(bundle / "decoder" / VARIANT_FILES["float32"])
    (image,) = session.run(None, {"z": np.zeros((1, session.get_inputs()[0].shape[1]), np.float32)})[0]
    return image


def in_browser(folder: Path, page: str, expression: str) -> Any:
    program = node()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium:
        pytest.skip("Chromium is not installed (Debian's package chromium)")
    return output_of([program, HERE / "browser.mjs", chromium, folder, page, expression])


def node() -> str:
    program = shutil.which("node")
    if not program:
        pytest.skip("Node is not installed")
    if not (HERE / "node_modules").is_dir():
        pytest.skip("the npm packages are not installed: run tests/runtimes/install.sh")
    return program


def python_of(name: str) -> Path:
    python = installed_python(name)
    if not python:
        pytest.skip(f"the environment of {name}.txt is not installed: run tests/runtimes/install.sh")
    return python


def installed_python(name: str) -> Path | None:
    folder = HERE / ".venvs" / name
    return folder / "bin/python" if (folder / "installed.txt").exists() else None


def output_of(command: list[str | Path]) -> Any:
    """What a runner printed as JSON on its last line."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=HERE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def version_in(requirements: Path, package: str) -> str:
    (version,) = re.findall(rf"^{package}==(\S+)", requirements.read_text(), re.MULTILINE)
    return version
