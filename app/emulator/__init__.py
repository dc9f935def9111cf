"""An embedded LangSmith: `GET /api/v1/sessions` over real HTTP, with seeded data.

It serves the demo and every test, needs no key and no network, and imports nothing
else of the gateway, so that the two can disagree. It refuses what the API does not
define. What nobody could find out about the real API is marked `# Assumed:` beside
the code that settles it here.

Read `run` and `session` for the data, `workspace` for how it is made up, `statistics`
for the figures, `expression`, `predicate` and `fields` for filters, `params` and `listing`
for the endpoint, `traffic` for what tests may do to a request, then `emulator` and `server`.
"""

from .emulator import Emulator
from .server import serving, serving_in_thread
from .traffic import Fault, Recorded

__all__ = ["Emulator", "Fault", "Recorded", "serving", "serving_in_thread"]
