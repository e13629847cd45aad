"""Parts of every process: settings, health probes, logs, traces, an end on signals."""
