"""CRIU, in its own terms: its remote procedure calls, its process, and what its log says."""
