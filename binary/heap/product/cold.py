"""The main program of healthchecker-cold, equal to `python -m healthchecker`."""

from healthchecker.__main__ import run

run()
