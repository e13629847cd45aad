"""Evaluation over all targets at once: columns, the memo, and how much time each tenant's rules may take."""
