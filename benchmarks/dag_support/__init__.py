"""What the benchmarks of DAG files are made of."""
