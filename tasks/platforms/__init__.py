"""The systems under care: capability protocols, and the platforms that carry them out."""
