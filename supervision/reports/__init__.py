"""Reports: figures gathered once, kept as JSON inside the paper, printed from that JSON alone."""
