"""A folder of tables becomes one page.

What belongs here: words, page and files around the figures. What does not: measuring, drawing.
"""

from mimprobe.report.build import write_report

__all__ = ["write_report"]
