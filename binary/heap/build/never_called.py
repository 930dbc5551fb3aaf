"""What is in the executable's modules and never called by the program, each group with why.

Code that can be reached names all of these, so `unused.py` would keep them, with all that only they
need. Were one called all the same, that would be a NameError or an AttributeError.
"""

NEVER_CALLED = (
    # The command line is run by make_context() and invoke(); a shell's completion is not offered.
    "click.core:Command.main",
    "click.core:Command.shell_complete",
    "click.core:Group.shell_complete",
    "click.core:Parameter.shell_complete",
    "click.parser:__getattr__",
    # Requests have no cookies and no parts; the text of a response is decoded by ourselves.
    "httpx:Cookies",
    "httpx._content:encode_multipart_data",
    "httpx._models:_parse_content_type_charset",
    # Nothing is a coroutine.
    "warnings:_warn_unawaited_coroutine",
    # No library logs an exception or a stack, and no handler wants to know who logged.
    "logging:Formatter.formatException",
    "logging:Formatter.formatStack",
    "logging:Logger.findCaller",
    # No file is sent.
    "socket:socket.sendfile",
    "ssl:SSLSocket.sendfile",
    # Python calls these when it starts, which it has done when the heap is saved.
    "_frozen_importlib:_install",
    "_frozen_importlib:_install_external_importers",
    # Nothing is imported any more (warm.py).
    "_frozen_importlib:_find_spec",
    # C code knows the name, but means another function.
    "codecs:open",
)
