"""Where an API server is and who we are there: kubeconfigs, credential plugins, TLS."""
