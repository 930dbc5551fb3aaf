"""The command line: the only part that prints, exits or takes options from the environment."""
