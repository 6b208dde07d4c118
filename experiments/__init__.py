"""Benchmarks against peers; each prints a table and writes pictures and JSON lines."""
