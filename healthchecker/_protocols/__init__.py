"""Probers: one module per protocol, with its decode functions."""
