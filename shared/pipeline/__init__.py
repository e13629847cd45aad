"""How stages of the pipeline are declared, wired and run."""
