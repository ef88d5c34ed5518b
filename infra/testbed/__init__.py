"""What tests run against beside the sandbox: systems of other makes and versions."""
