"""Control groups, in the kernel's terms: where they are mounted, making and entering them, limits, and their end."""
