"""Reads a Parquet file as others do: prints the type of each column, then each row, one a line."""

import json
import sys

import duckdb

rows = duckdb.read_parquet(sys.argv[1])
print(json.dumps(dict(zip(rows.columns, map(str, rows.types)))))
times = rows.project("* replace (epoch_us(time) as time, detail::varchar as detail)").order("id")
for row in times.fetchall():
    print(json.dumps(dict(zip(rows.columns, row))))
