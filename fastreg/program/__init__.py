"""What engines run: ops on named buffers, riders on ops, the rules of updates, and programs of all these."""
