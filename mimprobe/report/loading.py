"""What became of a weights file, in a few lines: a load report lists every tensor by its name.

What belongs here: grouping a load report for the page; the manifest has it whole.
"""

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 3
"""Names of tensors that a line shows."""


def loading_lines(report: Mapping[str, Any]) -> dict[str, Any]:
    """Group tensors that were treated alike.

    Args:
        report: as `LoadReport.describe` gives it; empty where nothing was loaded from a file.
    """
    if not report:
        return {}
    renamed = [f"{old} → {new}" for old, new in report.get("renamed", {}).items()]
    return {
        "matched": f"{report.get('matched', 0)} tensors",
        "renamed": _counted(renamed),
        "resized": _grouped(report.get("resized", {})),
        "dropped on purpose": _grouped(report.get("dropped", {})),
        "missing, as the card allows": _grouped(report.get("missing", {})),
        "unexpected": _counted(report.get("unexpected", [])) or "none",
        "renaming": report.get("converter", ""),
        "content": report.get("checked", ""),
        "assumed": "; ".join(report.get("assumed", [])),
    }


def _grouped(reasons: Mapping[str, str]) -> dict[str, str]:
    """Turn names with reasons into reasons with names."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return {reason: _counted(names) for reason, names in groups.items()}


def _counted(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
