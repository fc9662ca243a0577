"""
The golden files that a release has frozen, with the SHA-256 of each.

Teams keep exported files for years, so every later release must load and run these as they are. If a test says that one
has changed, restore it, whatever made it change. If the library exports another text now, either undo that or give the
text a protocol of its own: increase ``PROTOCOL`` in ``rendering/dag.py``, describe its keys in docs/reference/abi.rst,
keep reading the protocols before it, write its golden files with ``DKIST_WRITE_GOLDEN=1``, and add them here when a
release has written them. Nothing in this table is ever changed or removed; a new checksum would hide that files which
teams have deployed are no longer tested.
"""

FROZEN = {
    "protocol_1/diamond_bash.py": "51e1d59b92cd8b8281920cb4eaf1787f45e4b7a6494aa59d9c1a035e1eafbbf9",
    "protocol_1/diamond_bash_constrained.py": "254edaa693b9f32b6e57b8a2ab249dd791a15b4b7cae1a4d494a5757ced94f41",
    "protocol_1/diamond_python_virtualenv.py": "c6a4a251447bc181ec3bc05bceefc0ffeb6e751b62741e9f038a20b8c4d92b9f",
}
