"""`make fuzz-session`: random sessions through the router and directly, step by step, and what differs."""
