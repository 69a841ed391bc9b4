"""Sweeps: one system call of a verb fails, or its process is killed there, for every call of every process in turn.

`python -m tests.sweeps faults|kills` runs them whole; tests/integration/test_sweeps.py a sample.
"""
