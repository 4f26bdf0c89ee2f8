"""The one exception a user is meant to read: what is wrong, where, and what to do about it, in one line.

Raise it for anything the user can mend (a recipe, a file, a port, a full disk). The command line prints its text
without a traceback and exits with 2; everything else is a bug and keeps its traceback.
"""


class LavaflowError(Exception):
    """A failure whose message names the thing and the remedy."""
