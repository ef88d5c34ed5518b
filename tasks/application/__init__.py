"""The web application, as its users see it."""
