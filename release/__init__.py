"""What is released, one module for each form; `python -m release` makes all of it."""
