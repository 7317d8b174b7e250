"""A small folder of prepared digits, cut from the packaged sample."""

from pathlib import Path

from pipeline.data.download import download
from pipeline.data.prepare import prepare
from pipeline.params import Download, Prepare

DOWNLOAD = Download(dataset="mnist", source="auto", own="own", labels_from=None, invert=False, test_share=0.4, seed=0)


def prepare_sample(folder: Path) -> Path:
    """3,500 training, 500 validation and 1,000 test digits in `folder`/prepared."""
    download(DOWNLOAD.model_copy(update={"source": "sample"}), folder / "raw")
    prepare(Prepare(validation_images=7500, seed=0), folder / "raw", folder / "prepared")
    return folder / "prepared"
