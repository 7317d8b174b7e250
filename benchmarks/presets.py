"""Run presets from nothing and hold them to what is expected: `make presets`, or `make preset-plane` for one.

Each is one `dvc exp run $(vae preset NAME)` in this working tree, so that `dvc exp show` compares them afterwards. The
parameters of the last one stay in params.yaml; `git checkout . && dvc checkout` goes back.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from pipeline.presets import read_preset

# Figure of reports/metrics.json, and the most that it should be on 60,000 digits of MNIST.
EXPECTED = {
    "classic": (("test", "negative_elbo"), 157.0),
    "plane": (("test", "negative_elbo"), 132.0),
    "compact": (("test", "negative_elbo"), 96.0),
    "likelihood": (("likelihood", "negative_log_likelihood"), 84.3),
}


def main() -> None:
    names = sys.argv[1:] or list(EXPECTED)
    if unknown := set(names) - set(EXPECTED):
        sys.exit(f"there is no preset {sorted(unknown)[0]}; expected one of {', '.join(EXPECTED)}")
    lines, missed = [], False
    for name in names:
        start = time.monotonic()
        overrides = [part for override in read_preset(Path("preset"), name) for part in ("-S", override)]
        if subprocess.run(["dvc", "exp", "run", *overrides], check=False).returncode:
            sys.exit(f"preset {name} failed")
        minutes = (time.monotonic() - start) / 60
        metrics = json.loads(Path("reports/metrics.json").read_text())
        (section, figure), most = EXPECTED[name]
        found = metrics[section][figure]
        missed |= found > most
        verdict = "as expected" if found <= most else "MISSED"
        about = f"{section} {figure}".replace("_", " ")
        lines.append(f"{name:12}{about:36}{most:10.2f}{found:10.2f}  {verdict}, {metrics['source']}, {minutes:.0f} min")
    print(f"\n{'preset':12}{'figure, nats per test digit':36}{'at most':>10}{'measured':>10}")
    print("\n".join(lines))
    sys.exit(missed)


if __name__ == "__main__":
    main()
