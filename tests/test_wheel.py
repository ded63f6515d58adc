"""The package as it is shipped: sdist, wheel built from it, installed where nothing else is."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LOOK = """
import json, sys
from mimprobe.zoo.shelf import bundled_directory, card_names, find_card
from mimprobe.zoo.weights import file_sha256
import mimprobe
print(json.dumps({
    "package": mimprobe.__file__,
    "cards": list(card_names()),
    "whole": {name: "sha256:" + file_sha256(find_card(name).bundled_weights)
              == find_card(name).weights.checksum
              for name in card_names() if find_card(name).bundled_weights},
    "directory": str(bundled_directory()),
}))
"""


@pytest.mark.slow
def test_the_wheel_brings_cards_weights_and_command(tmp_path):
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    (tmp_path / "elsewhere").mkdir()
    # Its own environment, with the dependencies of this one behind it instead of a second download.
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True
    )
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    behind = [path for path in sys.path if path.endswith("site-packages")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    (site / "behind.pth").write_text("\n".join(behind) + "\n")

    def run(*command):
        done = subprocess.run(
            command, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = json.loads(run(python, "-c", LOOK))
    assert Path(found["package"]).is_relative_to(site)
    assert Path(found["directory"]) == site / "mimprobe" / "pretrained"
    assert {"simmim_vit_base", "moco_v3_vit_base", "deit_base"} <= set(found["cards"])
    assert found["whole"] == {"simmim-tiny40": True, "supervised-tiny40": True}
    command = tmp_path / "env" / "bin" / "mimprobe"
    assert "simmim-tiny40" in run(command, "models", "list")
    assert "report: " in run(command, "demo", "-o", "out")
    assert (tmp_path / "elsewhere" / "out" / "report.html").is_file()
