"""`healthchecker licenses`: what is linked into the executable, and under which licences."""

from __future__ import annotations

import click

from healthchecker._cli.linked import licenses_text
from healthchecker._cli.parsing import Command
from healthchecker._cli.process import HEALTHY, STDOUT, UNHEALTHY, write


def _run(_context: click.Context) -> int:
    return HEALTHY if write(STDOUT, licenses_text()) else UNHEALTHY


LICENSES = Command(
    "licenses",
    _run,
    None,
    (),
    help="Print what is linked into this executable, with versions and the texts of all licences.",
)
