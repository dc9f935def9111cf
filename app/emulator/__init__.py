"""An embedded LangSmith: `GET /api/v1/sessions` and `/api/v2/sessions` over real HTTP, with generated data.

The demo and the tests run against it. It needs no API key and no network. It imports nothing else of the gateway, so
that an error in the gateway's understanding of LangSmith is not repeated here. It is strict: it refuses requests that
the real API does not define. Behaviour of the real API that is unknown is marked as `Assumed` where it is implemented,
with its row in the table of `app/doctor`; `behaviour` has the switches for behaving otherwise.

Read the files in this order: `run`, `session` and `workspace` (the data, generated from a seed), `statistics` (computed
from the runs), `filter_parser`, `filter_compiler` and `filter_fields` (filter expressions), `params`, `params_v2` and
`query` (the parameters of both versions, and what they have in common), `listing` and `stats_selection` (what they
select), `rows`, `rows_v2` and `cursors` (the responses), `gate` (credentials and rate limits), `fault_injection` (what
tests can do to requests), `emulator` (the routes) and `server` (serves it on a socket). `errors` and `timestamps` are
small values that the others use.
"""

from app.emulator.behaviour import Behaviour
from app.emulator.emulator import Emulator
from app.emulator.fault_injection import Fault, RecordedRequest
from app.emulator.server import serving, serving_in_thread

__all__ = ["Behaviour", "Emulator", "Fault", "RecordedRequest", "serving", "serving_in_thread"]
