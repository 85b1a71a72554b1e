"""What it costs, side by side with what else there is. The last results are in docs/benchmarks.md."""
