"""What operations will ask of LangSmith, told before they run.

    checking     each is validated and run              report       what is told of them
    sources      the files they are in                  sent         operations with their fragments
    variables    values for those that have none        langsmith    one that remembers what it was asked

Documents are joined over files, as frontends do it: an operation is checked with the fragments that it needs, wherever
they are. What the LangSmith here is asked is what the real one would be.
"""

from app.check.checker import check
from app.check.example_variables import EXAMPLES
from app.check.report import CheckedOperation, Report
from app.check.sources import CheckInputError, sources_at

__all__ = ["EXAMPLES", "CheckInputError", "CheckedOperation", "Report", "check", "sources_at"]
