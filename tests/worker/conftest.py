"""Property tests: no deadline, since the machine's speed proves nothing, and no files left in the checkout."""

import hypothesis

hypothesis.settings.register_profile("worker", deadline=None, database=None)
hypothesis.settings.load_profile("worker")
