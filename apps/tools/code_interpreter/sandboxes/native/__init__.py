"""CPython at full speed, confined by the kernel."""
