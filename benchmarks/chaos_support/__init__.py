"""What the chaos benchmark is made of."""
