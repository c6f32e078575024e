"""The configuration: what the YAML file may hold (``model``), and how it is read (``load``).

Beneath: ``document`` (YAML with line numbers), ``environment`` (``${NAME}``, ``{env:}``, ``{file:}``), ``units`` and
``address`` (what a value may look like), ``kinds`` (the same for pydantic), ``problems`` and ``explain`` (what a person
is told), ``schema`` (for editors).
"""
