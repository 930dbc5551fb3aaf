"""The files of a release, one module for each format; `python -m release` makes all of them."""
