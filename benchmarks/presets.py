"""Run presets and compare each with its aim and its bound: `make presets`, or `make preset-plane` for one.

A missed aim is printed; only a figure above its bound, which is a regression, makes the command fail. Each run is one
`dvc exp run $(vae preset NAME)` in this working tree, so that `dvc exp show` compares them afterwards. The parameters
of the last one stay in params.yaml; `git checkout . && dvc checkout` goes back.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from pipeline.presets import read_preset


class Expected(NamedTuple):
    """What a preset is held to, in nats per test digit of the 60,000 and 10,000 digits of MNIST."""

    figure: tuple[str, str]
    """Section and name in reports/metrics.json."""
    aim: float
    """What was wanted, whether or not it was reached."""
    reached: float
    """What the preset gave when it was made."""

    @property
    def bound(self) -> float:
        """The most that is no regression: 1 % above what was reached, twice the spread over seeds (0.4 to 0.5 %)."""
        return 1.01 * self.reached

    def verdict(self, found: float) -> str:
        """One or two words on a figure; `REGRESSION` is the one that fails."""
        if found > self.bound:
            return "REGRESSION"
        return "aim met" if found <= self.aim else "aim missed, no regression"


EXPECTED = {
    "classic": Expected(("test", "negative_elbo"), aim=157.0, reached=153.3),
    "plane": Expected(("test", "negative_elbo"), aim=132.0, reached=134.3),
    "compact": Expected(("test", "negative_elbo"), aim=94.9, reached=94.2),
    "likelihood": Expected(("likelihood", "negative_log_likelihood"), aim=84.3, reached=83.6),
}


def main() -> None:
    names = sys.argv[1:] or list(EXPECTED)
    if unknown := set(names) - set(EXPECTED):
        sys.exit(f"there is no preset {sorted(unknown)[0]}; expected one of {', '.join(EXPECTED)}")
    lines, failed = [], False
    for name in names:
        start = time.monotonic()
        overrides = [part for override in read_preset(Path("preset"), name) for part in ("-S", override)]
        if subprocess.run(["dvc", "exp", "run", *overrides], check=False).returncode:
            sys.exit(f"preset {name} failed")
        minutes = (time.monotonic() - start) / 60
        metrics = json.loads(Path("reports/metrics.json").read_text())
        expected = EXPECTED[name]
        section, figure = expected.figure
        found = metrics[section][figure]
        failed |= found > expected.bound
        figures = f"{expected.aim:10.2f}{expected.bound:10.2f}{found:10.2f}"
        about = f"{section} {figure}".replace("_", " ")
        verdict = expected.verdict(found)
        lines.append(f"{name:12}{about:36}{figures}  {verdict}, {metrics['source']}, {minutes:.0f} min")
    print(f"\n{'preset':12}{'figure, nats per test digit':36}{'aim':>10}{'bound':>10}{'measured':>10}")
    print("\n".join(lines))
    sys.exit(failed)


if __name__ == "__main__":
    main()
