"""Functions that the program never calls, each group with the reason.

Reachable code names all of them, so `unused.py` would keep them and everything that only they need.
A call of one would be a NameError or an AttributeError.
"""

NEVER_CALLED = (
    # make_context() and invoke() run the command line; shell completion is not offered.
    "click.core:Command.main",
    "click.core:Command.shell_complete",
    "click.core:Group.shell_complete",
    "click.core:Parameter.shell_complete",
    "click.parser:__getattr__",
    # Requests have no cookies and no parts; our own code decodes the text of a response.
    "httpx:Cookies",
    "httpx._content:encode_multipart_data",
    "httpx._models:_parse_content_type_charset",
    # Nothing is a coroutine.
    "warnings:_warn_unawaited_coroutine",
    # No library logs an exception or a stack, and no handler uses the caller's name.
    "logging:Formatter.formatException",
    "logging:Formatter.formatStack",
    "logging:Logger.findCaller",
    # No library logs a warning or worse, and lower levels are off; Python's warnings do not
    # show a line of source. So no traceback is formatted and no Python code is read.
    "logging:Logger.handle",
    "logging:Logger.makeRecord",
    "linecache:getlines",
    # Classes are created during imports; later, only h11 creates one more type (a union).
    "typing:_SpecialGenericAlias.__getitem__",
    "typing:_SpecialGenericAlias.__or__",
    "typing:_SpecialGenericAlias.__ror__",
    "typing:_ProtocolMeta.__instancecheck__",
    "typing:_ProtocolMeta.__subclasscheck__",
    "typing:_TypedDictMeta.__new__",
    "typing:Any.__new__",
    "typing:Protocol.__init_subclass__",
    "enum:EnumType.__new__",
    "enum:EnumType.__prepare__",
    # Paths are Linux paths and never patterns.
    "glob:_Globber",
    "glob:_StringGlobber",
    "pathlib._abc:PathBase.glob",
    "pathlib._abc:PathBase.rglob",
    "pathlib._abc:PathBase.walk",
    "pathlib._abc:PurePathBase.full_match",
    "pathlib._abc:PurePathBase.match",
    "pathlib._local:Path.glob",
    "pathlib._local:Path.rglob",
    "pathlib._local:Path.walk",
    "pathlib._local:PureWindowsPath",
    # No file is sent.
    "socket:socket.sendfile",
    "ssl:SSLSocket.sendfile",
    # Python calls these at startup, which is before the heap is saved.
    "_frozen_importlib:_install",
    "_frozen_importlib:_install_external_importers",
    # Nothing is imported after warm.py.
    "_frozen_importlib:_find_spec",
    # C code contains the name, but means another function.
    "codecs:open",
)
