"""Reporting a program's own health: over HTTP, or by the age of a file."""
