"""The network: devices and what belongs to them, in kernel terms."""

BRIDGES = "bx-"  # what the names of all our bridges begin with
