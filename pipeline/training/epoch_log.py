"""The figures of each epoch in DVCLive's files, written while training runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dvclive.live import Live
from scmrepo.exceptions import SCMError

from pipeline.errors import TrainingError
from pipeline.shared.files import explained, refuse_foreign

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_OWN = ("metrics.json", "plots")


class EpochLog:
    """A log that replaces that of an earlier run and can be read after each epoch.

    Args:
        folder: where DVCLive writes `metrics.json` and `plots/metrics/{train,eval}/NAME.tsv`.
        history: the figures of the epochs before an interruption, which are logged first.

    Raises:
        OutputError: `folder` holds something else, or cannot be written.
        TrainingError: the git repository has no commit yet.
    """

    def __init__(self, folder: Path, history: Sequence[Mapping[str, float]]) -> None:
        refuse_foreign(folder, owns=_OWN)
        self._folder = folder
        try:
            with explained(folder):
                self._live = Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None)
        except SCMError as error:
            raise TrainingError(f"DVCLive can't use this git repository ({error}); make a first commit") from error
        for figures in history:
            self.add(figures)

    def add(self, figures: Mapping[str, float]) -> None:
        """Log one epoch, under the names that DVCLive's own callback for Keras gives."""
        with explained(self._folder):
            for name, value in figures.items():
                split = "eval" if name.startswith("val_") else "train"
                self._live.log_metric(f"{split}/{name.removeprefix('val_')}", value)
            self._live.next_step()  # type: ignore[no-untyped-call]
            self._live.make_summary()  # type: ignore[no-untyped-call]  # again, for the count of whole epochs

    def finish(self, chosen: Mapping[str, float]) -> None:
        """Add the figures of the epoch whose weights are kept, and close the log."""
        with explained(self._folder):
            self._live.summary["chosen"] = chosen
            self._live.end()  # type: ignore[no-untyped-call]
