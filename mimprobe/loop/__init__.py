"""The one loop: models x images x analyzers -> tables.

What belongs here: the order of a measurement and the record of its circumstances. What does not:
what is measured (`analyzers`), where (`hooks`, `models.sites`), and its form (`tables`).
"""

from mimprobe.loop.processes import processes
from mimprobe.loop.run import probe

__all__ = ["probe", "processes"]
