"""OpenVINO's runtime without its conversion tools.

`import openvino` imports the tools too, which takes a tenth of a second more, sends usage statistics and leaves a client id in
the user's home. Whoever needs them imports `openvino.tools.ovc` by itself, inside `openvino_graph.without_telemetry`.
"""

import sys

_TOOLS = "openvino.tools.ovc"

_hidden = _TOOLS not in sys.modules
if _hidden:
    sys.modules[_TOOLS] = None  # type: ignore[assignment]  # Python's way to say that a module cannot be imported.
try:
    import openvino as ov
finally:
    if _hidden:
        del sys.modules[_TOOLS]

__all__ = ["ov"]
