"""The sandbox: a small Planner with all its real components, on loopback, without installing."""
