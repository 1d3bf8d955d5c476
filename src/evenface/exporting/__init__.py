"""Writing what was trained into one file that others can run, and proving that the file says the same."""
