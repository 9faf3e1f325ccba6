"""What engines run: ops on named buffers, what rides on them, rules of updates, their order."""
