"""What the project runs on, and the sandbox it is tried on."""
