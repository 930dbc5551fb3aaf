"""The commands, one module each: read what is asked, call the core, print, return an exit code."""
