"""Ways to a service: ports that are published, and rules that let them through."""
