"""What is in the executable's modules and never called by the program, each group with why.

Code that can be reached names all of these, so `unused.py` would keep them, with all that only they
need. Were one called, that would be a NameError or an AttributeError.
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
    # No library logs a warning or worse, and less is not asked for; no line of source is shown
    # with one of Python's warnings. So tracebacks are not formatted and Python code is not read.
    "logging:Logger.handle",
    "logging:Logger.makeRecord",
    "linecache:getlines",
    # Classes are made while modules are imported; later, only h11 makes one more type (a union).
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
    # Paths are those of Linux, and none of them is a pattern.
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
    # Python calls these when it starts, which it has done when the heap is saved.
    "_frozen_importlib:_install",
    "_frozen_importlib:_install_external_importers",
    # Nothing is imported any more (warm.py).
    "_frozen_importlib:_find_spec",
    # C code knows the name, but means another function.
    "codecs:open",
)
