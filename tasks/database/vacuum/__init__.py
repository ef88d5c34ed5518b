"""Dead rows, and tables whose files are much larger than their rows."""
