"""What the commands that sign in and out do; ``cli`` has their options and help texts.

``login`` and ``logout`` are the commands, ``keeping`` puts what they bring into the store under its lock, and
``browser`` opens a page.
"""
