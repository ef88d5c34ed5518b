"""Images that a project builds: what goes into them, and whether they come up."""
