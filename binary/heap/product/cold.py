"""What healthchecker-cold runs: the same as `python -m healthchecker`."""

from healthchecker.__main__ import run

run()
