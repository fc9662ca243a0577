"""Parts of the benchmarks of DAG files."""
