"""What the engine of a compose project keeps on its disk, and who uses it."""
