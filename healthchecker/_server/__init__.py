"""How a program tells of its own health: over HTTP, or by the age of a file."""
