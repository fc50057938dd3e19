"""Pages of agreements: institutions by their state, applications on their way."""
