"""The commands, one module each: parse, call the core, print, return an exit code."""
