"""The Python API: containers from a program, over a zygote of its own. `import boxes` has all names."""
