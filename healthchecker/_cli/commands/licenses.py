"""`healthchecker licenses`: the components linked into the executable, and their licenses."""

from __future__ import annotations

import click

from healthchecker._cli.linked import licenses_text
from healthchecker._cli.parsing import Command
from healthchecker._cli.process import HEALTHY, print_all


def _run(_context: click.Context) -> int:
    print_all(licenses_text())
    return HEALTHY


LICENSES = Command(
    "licenses",
    _run,
    None,
    (),
    help="Print the versions and licenses of everything linked in.",
)
