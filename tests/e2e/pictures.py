"""Takes the docs' pictures: a restore from its form to its report, in a real browser.

`make pictures` starts the platform, breaks the sandbox's database, and does what the people on call
do in the Prefect UI, with a picture of each step; needs Debian's chromium.
"""

import sys
from pathlib import Path

from deployments.services.platform import Platform
from tests.e2e.person import CHROMIUM

if __name__ == "__main__":
    if not Path(CHROMIUM).exists():
        sys.exit(f"{CHROMIUM} is missing; get it with: apt-get install chromium")
    platform = Platform()
    ui = platform.up(print).ui_url
    # Imports Prefect, which reads the addresses that `up` has set.
    from tests.e2e.photographer import photograph

    photograph(platform, ui)
