"""The steps of the workflows, one module each."""
