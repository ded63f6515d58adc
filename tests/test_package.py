"""The package as a whole: public names, layers on disk, quick start of the command."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import mimprobe

ROOT = Path(__file__).parents[1]


def test_public_names_are_sorted_and_resolve():
    assert mimprobe.__all__ == sorted(mimprobe.__all__)
    assert set(mimprobe.__all__) == {*mimprobe._HOMES, "__version__"}
    for name in mimprobe.__all__:
        assert getattr(mimprobe, name) is not None
    assert set(mimprobe.__all__) <= set(dir(mimprobe))


def test_importing_every_submodule_replaces_no_public_name():
    for module in pkgutil.walk_packages(mimprobe.__path__, "mimprobe."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name, home in mimprobe._HOMES.items():
        meant = (
            importlib.import_module(f"mimprobe.{name}")
            if not home
            else getattr(importlib.import_module(home), name)
        )
        assert getattr(mimprobe, name) is meant, name


def loaded_after(statement):
    heavy = ("torch", "timm", "pandas", "matplotlib")
    code = f"import sys; {statement}; print([m for m in {heavy} if m in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]


def test_import_and_help_load_nothing_heavy():
    assert loaded_after("import mimprobe") == "[]"
    help_of_command = (
        "from click.testing import CliRunner; from mimprobe.cli import group; "
        "assert CliRunner().invoke(group, ['--help']).exit_code == 0"
    )
    assert loaded_after(help_of_command) == "[]"


def test_tables_claims_and_report_need_no_torch():
    found = loaded_after("import mimprobe.tables, mimprobe.claims, mimprobe.report")
    assert "torch" not in found
    assert "timm" not in found


def test_every_module_says_what_it_is_for():
    for path in (ROOT / "mimprobe").rglob("*.py"):
        assert path.read_text(encoding="utf-8").lstrip().startswith(('"""', 'r"""')), path


def test_no_file_is_larger_than_two():
    for path in [*(ROOT / "mimprobe").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
