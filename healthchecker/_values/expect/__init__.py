"""Expectations of a response, and responses compared with them. Pure functions, no I/O."""
