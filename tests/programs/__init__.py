"""What tests start as processes; it needs nothing but the standard library and the program."""
