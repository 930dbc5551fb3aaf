"""http:// and https:// targets."""
