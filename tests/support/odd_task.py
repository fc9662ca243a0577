"""What a task may put on a span, and what is recorded of it by either back end."""

TASK = """
    import math
    from dkist_processing_core import TaskBase

    class Evil:
        def __str__(self):
            raise ValueError("no text")

    class Calibrate(TaskBase):
        def run(self):
            odd = {
                "none": None, "list": [1, 2], "mixed": [1, "a"], "dict": {"a": 1}, "bytes": b"x", "evil": Evil(),
                5: "key", "surrogate": "a\\udc80", "surrogates": ["a\\udc80"], "huge": "x" * 10_000_000,
                "int": 10**30, "endless": 10**5000, "nan": math.nan, "infinite": -math.inf,
                "elements": list(range(3_000_000)), "self": "self", "dotted.name": 1, "umlaut": "\\u00fc",
                Evil(): "evil key", "\\udc81": "key", "complex": 1j,
            }
            with self.apm_step("labels", labels=odd) as span:
                span.set_attributes(odd)
                span.set_attribute("late", Evil())
                span.set_attribute("name", "name")
                span.add_event("\\udc80", odd)
                span.record_exception(ValueError("\\udc80"), attributes=odd)
                span.set_status("nonsense")
            for name in (5, None, "", b"b", Evil(), "n" * 5000, "\\udc80"):
                with self.apm_step(name) as span:
                    span.update_name(name)
            for kind in (None, "", "a.b.c.d.e", ".", "..", "x" * 5000, 5, Evil()):
                with self.apm_step("kind", span_type=kind):
                    pass
            print("done")
"""
LABELS = {
    "mixed": "[1, 'a']",
    "dict": "{'a': 1}",
    "bytes": "b'x'",
    "evil": "<Evil without text: ValueError>",
    "5": "key",
    "surrogate": "a\\udc80",
    "int": str(10**30),
    "endless": "<int without text: ValueError>",
    "self": "self",
    "umlaut": "ü",
    "<Evil without text: ValueError>": "evil key",
    "\\udc81": "key",
    "complex": "1j",
    "late": "<Evil without text: ValueError>",
    "name": "name",
}
# Seven odd names and eight kinds, three phases and the one with the labels.
SPANS = 7 + 8 + 3 + 1
