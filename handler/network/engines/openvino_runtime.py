"""Import OpenVINO's runtime without its conversion tools.

`import openvino` also imports the tools, which takes another tenth of a second, sends usage statistics and leaves a client id
in the user's home directory. Code that needs the tools imports `openvino.tools.ovc` itself, inside
`openvino_graph.without_telemetry`.
"""

import sys

_TOOLS = "openvino.tools.ovc"

_is_hidden = _TOOLS not in sys.modules
if _is_hidden:
    sys.modules[_TOOLS] = None  # type: ignore[assignment]  # Makes importing the module fail.
try:
    import openvino as ov
finally:
    if _is_hidden:
        del sys.modules[_TOOLS]

__all__ = ["ov"]
