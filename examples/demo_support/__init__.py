"""The parts of ``demo.py``: its output, the programs that it starts, and its files."""
