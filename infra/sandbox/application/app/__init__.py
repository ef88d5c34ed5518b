"""Planner in small: the web application that the sandbox's remediations look after."""
