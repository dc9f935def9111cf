"""`sessions-gateway doctor`: finds out which assumptions about LangSmith hold for the LangSmith that is configured.

`examine(settings)` sends at most some forty small requests, one after another, and returns a `Report`: for each
assumption what was seen and what follows, and the settings that fit. It only reads, and nothing in the report
identifies the workspace, so that the report can be pasted into a bug report.

Read the files in this order: `assumptions` (the table of what the package assumes of LangSmith), `survey` (the
requests), `examination` (sends them), `access` (when to stop, and what to do then), `answers` (the transcript),
`probes` (the table of probes) with `access_probes`, `list_probes` and `statistics_probes` (pure functions that judge
the transcript), `verdict` (their result), `report` (the findings and the recommended settings) and `text_report` (its
lines for a terminal).
"""

from app.doctor.examination import examine
from app.doctor.report import Report
from app.doctor.text_report import text_lines

__all__ = ["Report", "examine", "text_lines"]
