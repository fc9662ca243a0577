"""The parts of ``demo.py``: what it says, what it starts, and where it keeps what it makes."""
