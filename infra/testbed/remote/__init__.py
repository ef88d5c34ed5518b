"""Ways to an engine as from another machine: a door with TLS, and a server of ssh."""
