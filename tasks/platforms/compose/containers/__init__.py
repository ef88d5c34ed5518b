"""How containers of a compose project's services stand, and what the engine knows of them."""
