"""What flows are made of: the engine (guardrails), the subjects and the platforms."""
