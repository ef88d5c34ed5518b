"""Takes the docs' pictures: a restore that waits for approval, in a real browser.

`make pictures` starts the platform, breaks the sandbox's database, starts restore-from-backup,
and photographs the pages that an approver sees; needs Debian's chromium.
"""

import sys
from pathlib import Path

from deployments.services.platform import Platform

CHROMIUM = "/usr/bin/chromium"

if __name__ == "__main__":
    if not Path(CHROMIUM).exists():
        sys.exit(f"{CHROMIUM} is missing; get it with: apt-get install chromium")
    platform = Platform()
    platform.up(print)
    # Imports Prefect, which reads the addresses that `up` has set.
    from tests.e2e.photographer import photograph

    photograph(platform, CHROMIUM)
