"""The contract between an agency and an institution, and the statutory clocks around it."""
