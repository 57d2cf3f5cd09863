"""What the loop thread records as it runs. The hot path lives here alone."""
