"""The command line: one file per noun.

What belongs here: flags, and calls of one library function each. What does not: anything that a
notebook would need too. Nothing heavy is imported before a command runs, so that `--help` is quick.
"""

import click

from mimprobe import __version__
from mimprobe.cli.avgdist import avgdist
from mimprobe.cli.claims import claims
from mimprobe.cli.compare import compare, probe, report
from mimprobe.cli.demo import demo
from mimprobe.cli.export import export
from mimprobe.cli.finetune import finetune
from mimprobe.cli.models import models
from mimprobe.cli.overlay import overlay
from mimprobe.cli.pretrain import pretrain
from mimprobe.cli.readout import readout
from mimprobe.cli.receptive import receptive
from mimprobe.cli.reconstruct import reconstruct

COMMANDS = (
    demo, compare, probe, report, claims, readout, overlay, receptive, reconstruct, pretrain,
    finetune, avgdist, export, models,
)  # fmt: skip


class InOrder(click.Group):
    """A group that lists its commands in the order in which people need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Keep the order of `COMMANDS`."""
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mimprobe")
def group() -> None:
    """See how vision models trained in different ways differ inside.

    \b
    Start with:
      mimprobe demo
      mimprobe compare simmim-tiny40 supervised-tiny40 --images FOLDER --output OUT
    """  # noqa: D301


for command in COMMANDS:
    group.add_command(command)
