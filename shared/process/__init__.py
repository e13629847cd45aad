"""What every process needs: settings, health probes, logs, traces, an end on signals."""
