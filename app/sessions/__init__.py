"""The domain: sessions, their statistics, and queries for them. Values only, without I/O.

Everything about a field or an argument is derived from one line here. To add one, add its line:

- `fields.py`: the fields of a session (columns, statistics and facets). A statistic that sessions can be ordered by is
  also a value of `SessionOrderField`, and `app/emulator/statistics.py` computes each statistic.
- `arguments.py`: the arguments of the schema, and their canonical form in a query.

The rest, in reading order:

- `query.py`: `PageQuery` and `StatsWindow`, what is requested of LangSmith. `page.py`: `Page`, what it returned.
- `row.py`: the struct of a session, generated from the fields. `decoding.py`: bytes into structs. `columns.py`: checks
  of decoded values, field by field. `malformed.py`: decodes answers with odd values, row by row.
- `feedback.py`: feedback statistics. `experiment_progress.py`: how far an experiment has come. `scalars.py`: how values
  are parsed and formatted.
"""
