"""Parts of the chaos benchmark."""
