"""Programs that tests start; they import only the standard library and the package."""
