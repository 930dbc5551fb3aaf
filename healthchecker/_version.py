"""The version, for the package and for `--version`."""

VERSION = "0.1.0"
