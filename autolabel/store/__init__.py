"""The database: one DuckDB file of facts that are only ever added, with views that say what is current.

Nothing outside this package imports duckdb.
"""
