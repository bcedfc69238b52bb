"""A configuration and a topology to programs that were compiled for it, and what they need of a device, without one."""
