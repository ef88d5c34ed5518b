"""What helps beside the guide's own solutions: undo, recovery."""
