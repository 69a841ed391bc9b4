"""The network: devices and what belongs to them, in kernel terms."""
