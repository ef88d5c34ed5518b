"""What the fork server imports last: children then share what was imported before.

Else the first garbage collection of each child writes to every page of it, which copies them.
"""

import gc

gc.collect()
gc.freeze()
