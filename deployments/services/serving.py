"""Prefect's server as a process, at one address or several.

Run as `python -m deployments.services.serving PORT ADDRESS...`.
"""

import sys

import uvicorn

from deployments.services.addresses import listening


def main() -> None:
    """Serve until told to stop."""
    port, *addresses = sys.argv[1:]
    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        log_level="warning",
    )
    uvicorn.Server(config).run([listening(address, int(port)) for address in addresses])


if __name__ == "__main__":
    main()
