"""Streaming speech recognition with XLSR encoders: an ESPnet plugin.

`import espnet_local` registers encoder `xlsr_streaming`, decoder `stateless` and model
`xlsr_transducer` in ESPnet's ASR task as soon as that task is imported, before or after. ESPnet
takes ten seconds and more to import, so it is never imported from here.
"""

import sys

from wrapt import register_post_import_hook

__version__ = "0.1.0"


def _register(_module: object) -> None:
    if "espnet_local.task" in sys.modules:
        return  # it is the one importing ESPnet, and registers itself when it is loaded
    from espnet_local.task import register

    register()


register_post_import_hook(_register, "espnet2.tasks.asr")
