"""The broker in memory, for tests; it passes the same contract tests as NATS."""
